package client_test

func crashingPublisher(string) {}
