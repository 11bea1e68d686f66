package transport_test

import (
	"context"
	"fmt"
	"io"

	"github.com/mqlab/mqlab/internal/transport"
)

func Example() {
	var net transport.Network
	l, err := transport.Listen("mem://broker", transport.ListenConfig{Mem: &net})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	d := transport.Dialer{Mem: &net}
	client, err := d.Dial(context.Background(), l.URL())
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := l.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	fmt.Fprint(client, "hello")
	client.Close()
	got, err := io.ReadAll(server)
	fmt.Println(string(got), err)
	// Output: hello <nil>
}
