package client

// PoisonFrames makes every reader overwrite frames that have been used.
func PoisonFrames() { poison = true }
