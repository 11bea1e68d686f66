// Package pcap finds MQTT in network captures: files in the formats pcap and pcapng, plain or compressed
// by gzip or zstd, streams of either, and live interfaces.
//
// Start from [Dissector]: it takes frames, puts TCP streams together, finds those that speak MQTT on
// whatever port by looking at their bytes, also inside WebSocket, and inside TLS where [Config.Keys] has the
// secrets, and calls [Config.Packet] for each Control Packet. [Reader] reads frames alone. [List], [JSON], [CSV],
// [Tree], [Stats] and [Lint] are sinks for packets; [Parallel] and [ParallelLint] run them by several goroutines.
//
// Memory is constant: 32,768 connections are followed at a time, the one that was silent for longest
// is forgotten first; 4 MiB of segments that came too early are kept for one direction and 32 MiB
// for all; 16 MiB of connections that have not shown yet what they carry; a packet is kept whole up to
// 4 MiB and 32 MiB of all that are not complete, and beyond that its beginning. What is passed to
// a callback is borrowed for the duration of the call. [Stats] is bounded too; [Lint] keeps what
// package judge keeps of each open stream. Several goroutines take about 1 MiB each, and more only while packets
// are larger than that.
//
// Lost segments, retransmission, reordering, a start in the middle of a conversation and a file that
// is cut are normal input. What is missing is reported by [Config.Gap] and never guessed.
//
// Not done here: UDP (MQTT-SN), QUIC, and the judgement of rules, which package judge does.
package pcap

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// Config says what a [Dissector] looks for and whom it tells. The zero value looks everywhere and
// tells nobody. A callback that returns an error ends the work with it.
type Config struct {
	Ports  []uint16               // taken for MQTT, or what carries it, without looking at the bytes first
	Packet func(*Packet) error    // each Control Packet
	Gap    func(*Gap) error       // each hole in the bytes of an MQTT stream
	End    func(*StreamEnd) error // each MQTT stream that ends, at the latest with the capture
	Unread func(*Unread) error    // each TLS stream that cannot be decrypted
	// Keys decrypts TLS; nil is a log without any.
	Keys *KeyLog

	// raw takes in packets that are not decoded, in place of Packet.
	raw func(*Packet) error
}

// Stream is one MQTT connection of a capture.
type Stream struct {
	ID        int            // counts all TCP connections of the capture from 0, as other dissectors do
	Client    netip.AddrPort // who opened the connection, or sends what only clients send
	Server    netip.AddrPort
	Transport string // "tcp", "ws", "tls" or "wss"
	ClientID  string // of CONNECT, or assigned by CONNACK
	Version   codec.Version
	// Inferred: the version was concluded from packets, since CONNECT was not seen.
	Inferred bool
	// Midstream: the capture begins after the connection did.
	Midstream bool
	Packets   int

	// Value belongs to the callbacks: what they keep of a stream goes with it.
	Value any

	known  [2]bool  // whether Client and Server are more than a guess
	copied *Stream  // the latest snapshot
	kept   *any     // Value of all snapshots
	ws     *wsFacts // what a WebSocket shows whose beginning was seen
}

// Packet is one Control Packet of a capture.
type Packet struct {
	Stream  *Stream
	From    codec.Side
	File    int // index of the capture among those read
	Frame   int // number of the frame that completed it, from 1
	Nanos   int64
	Index   int           // of the packet on its stream, both directions together, from 0
	Version codec.Version // what it was decoded as
	Type    codec.Type
	Flags   uint8        // the lower four bits of the first byte
	MQTT    codec.Packet // nil where the type is not defined
	Raw     []byte       // the bytes, of which Missing are not there
	Size    int          // on the wire
	Missing int          // bytes lost or, in a huge packet, not kept; they follow Raw
	Topic   string       // of PUBLISH, a Topic Alias resolved where its meaning was seen
	// Unseen: by the acknowledgements of TCP the sender had received bytes of the other side that
	// the capture has not shown so far. It may answer what nobody can see.
	Unseen bool
	// Faults are the departures from the standard that the packet itself shows. There are none
	// where bytes are missing.
	Faults codec.Errors
}

// Time returns the capture time in UTC.
func (p *Packet) Time() time.Time { return time.Unix(0, p.Nanos).UTC() }

// Gap is a hole in the bytes of one side.
type Gap struct {
	Stream *Stream
	From   codec.Side
	Frame  int // in which the bytes after the hole stand
	File   int
	Nanos  int64
	Lost   int64 // bytes that were never captured; 0 where bytes are there but not understood
	// Skipped are captured bytes that had to be passed over to find the next packet.
	Skipped int64
}

// StreamEnd tells of the end of a stream.
type StreamEnd struct {
	Stream *Stream
	By     codec.Side // who closed it, Either where that was not seen
	Reset  bool       // by RST
	Closed bool       // its end was seen; otherwise the capture ended, or too many streams were open
	Frame  int
	Nanos  int64
}

// Summary counts what a [Dissector] has seen.
type Summary struct {
	Files     int   `json:"files"`
	Frames    int64 `json:"frames"`
	Bytes     int64 `json:"bytes"` // captured
	Segments  int64 `json:"tcp_segments"`
	Streams   int   `json:"tcp_streams"`
	MQTT      int   `json:"mqtt_streams"`
	TLS       int   `json:"tls_streams"`       // that look like TLS
	Decrypted int   `json:"decrypted_streams"` // of these, with keys at hand
	Packets   int64 `json:"packets"`
	Gaps      int64 `json:"gaps"`
	Lost      int64 `json:"lost_bytes"`
	Repeated  int64 `json:"retransmitted_segments"`
	Forgotten int64 `json:"forgotten_streams"` // open streams given up for lack of room
	First     int64 `json:"first_ns"`          // capture time of the first and the last frame
	Last      int64 `json:"last_ns"`
}

// Read dissects a whole capture and leaves the streams open, as the next file may continue them.
// An error that is [ErrDamaged] comes after all that was before the damage.
func (d *Dissector) Read(r io.Reader) error {
	rd, err := NewReader(r)
	if err != nil {
		return err
	}
	if d.cfg.Keys != nil {
		rd.Secrets = func(b []byte) { d.cfg.Keys.Add(b) }
	}
	d.file = d.sum.Files
	d.sum.Files++
	for {
		f, err := rd.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, ErrDamaged) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.Frame(f); err != nil {
			return err
		}
	}
}
