package fuzz

import (
	"time"

	"github.com/mqlab/mqlab/codec"
)

// Script is one test case: steps on a few connections, in an order that is part of the case. It is data alone: running
// it twice sends the same bytes, up to the packet identifiers and topic aliases that an answer has to repeat.
type Script struct {
	Seed    uint64 // what the generator drew it from, for reports
	Version codec.Version
	Steps   []Step
	// Oracle and Signature name the trouble that the script is known to bring about; "" where it is not known for any.
	Oracle    Oracle
	Signature string
}

// Op is what a step does.
type Op uint8

// The operations, with the fields of Step that each reads.
const (
	Open       Op = iota + 1 // open a network connection: Conn
	Send                     // write Bytes, Repeat times
	Drip                     // write Bytes in pieces of Size bytes with a pause of Gap between them
	Answer                   // acknowledge what has arrived unanswered, as Ack says
	Settle                   // wait until the connection's answers have come or it is quiet, at most Gap
	Pause                    // do nothing for Gap
	Close                    // end the connection in order: DISCONNECT is a Send of its own
	Drop                     // reset the connection
	Churn                    // Size connections at once run Bytes' packets and are dropped, Repeat times each
	Stall                    // read nothing more from the connection
	Resume                   // read again
	Meanwhile                // do the steps up to the next Meanwhile or Afterwards, Repeat times, while other Meanwhiles next to it do theirs
	Afterwards               // go on when all the Meanwhiles before have ended
)

// Ack is how a step acknowledges.
type Ack uint8

// The ways to acknowledge.
const (
	AckRight     Ack = iota // each PUBLISH, PUBREC and PUBREL as its QoS demands
	AckTwice                // right, and then again
	AckReversed             // right, the last one first
	AckWrongType            // PUBACK for QoS 2, PUBREC for QoS 1, PUBCOMP for a PUBREC
	AckUnknown              // identifiers that nobody used
	AckRefuse               // Reason Code 0x80 in 5.0, else as AckRight
)

// Step is one act on one connection.
type Step struct {
	Op     Op
	Ack    Ack
	Conn   uint8 // 0 to MaxConns-1
	Bytes  []byte
	Repeat int
	Size   int
	Gap    time.Duration
	// Counting has the Packet Identifier of a Send that is repeated count up.
	Counting bool
	// Edit says what was done to a legal packet, in words; "" for a legal one.
	Edit string
}

// MaxConns is the greatest number of connections of a script, and of each Meanwhile in it, whose connections are its own.
const MaxConns = 4
