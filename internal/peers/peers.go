// Package peers compares package codec with other MQTT codecs for Go: mochi (all versions),
// paho.golang (5.0) and paho.mqtt.golang (3.1 and 3.1.1).
//
// Start from [Peer], one of the others behind one interface, and [Meaning], what a packet says
// apart from the bytes that say it. [DecodeCases] and [EncodeCases] are the packets of the speed
// comparison; the benchmarks run them, and so does cmd/compare, which prints the ratios.
//
// The peers are compared on legal packets only: all three accept much that the standard forbids.
// It is a module of its own, so that nobody who uses mqlab inherits the peers.
package peers

import "github.com/mqlab/mqlab/codec"

// Peer is another implementation of the packets.
type Peer interface {
	// Name returns the name by which exclusions and benchmarks call the implementation.
	Name() string
	// Speaks reports whether the implementation knows the version.
	Speaks(v codec.Version) bool
	// Decode decodes a frame that the side has sent, with all judgement that the implementation
	// offers. The Meaning may view the frame.
	Decode(frame []byte, v codec.Version, from codec.Side) (Meaning, error)
	// Encode returns the wire form of a packet that says m.
	Encode(m Meaning, v codec.Version) ([]byte, error)
}

// All returns every peer.
func All() []Peer { return []Peer{Mochi{}, Paho{}, PahoMQTT{}} }
