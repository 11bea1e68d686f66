package broker

// Poison makes a Broker overwrite each frame once it is processed, so that memory which
// outlives its frame shows. Call it before the first connection.
func Poison(b *Broker) { b.poison = true }
