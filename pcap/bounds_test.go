package pcap

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/mqlab/mqlab/codec"
)

// rawFrame is a frame of raw IPv4 with a TCP segment of one of many connections.
func rawFrame(f *Frame, conn int, fromServer bool, seq uint32, flags byte, data []byte) {
	b := append(f.Data[:0], 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, byte(conn>>24), byte(conn>>16), 1, 10, 1, 1, 1)
	binary.BigEndian.PutUint16(b[2:], uint16(40+len(data)))
	b = binary.BigEndian.AppendUint16(b, uint16(conn))
	b = binary.BigEndian.AppendUint16(b, 1883)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, 0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0)
	if fromServer {
		copy(b[12:16], []byte{10, 1, 1, 1})
		copy(b[16:20], []byte{10, byte(conn >> 24), byte(conn >> 16), 1})
		binary.BigEndian.PutUint16(b[20:], 1883)
		binary.BigEndian.PutUint16(b[22:], uint16(conn))
	}
	f.Number++
	f.Nanos += 1000
	f.Link, f.Data = LinkRaw, append(b, data...)
	f.Length = len(f.Data)
}

func testConnect(t testing.TB) []byte {
	t.Helper()
	b, err := (&codec.Connect{ClientID: "c", CleanStart: true}).AppendTo(nil, codec.V4)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Memory stays within the bounds that the package comment states, whatever comes.
func TestMemoryIsBounded(t *testing.T) {
	connect := testConnect(t)
	huge := append([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 'a'}, make([]byte, 1400)...)
	d := NewDissector(Config{})
	var f Frame
	feed := func(conn int, seq uint32, flags byte, data []byte) {
		t.Helper()
		rawFrame(&f, conn, false, seq, flags, data)
		if err := d.Frame(&f); err != nil {
			t.Fatal(err)
		}
		if d.earlyBytes > maxEarlyAll+len(data) {
			t.Fatalf("%d bytes of early segments are held", d.earlyBytes)
		}
		if d.heldBytes > maxKeptAll+maxSync+2*slimKept*len(d.conns) {
			t.Fatalf("%d bytes of incomplete packets are held", d.heldBytes)
		}
		if d.probed > maxProbeAll+maxProbe+2*slimProbe*len(d.conns) {
			t.Fatalf("%d bytes of connections of unknown kind are held", d.probed)
		}
		if len(d.conns) > maxConns {
			t.Fatalf("%d connections are followed", len(d.conns))
		}
	}
	// Segments behind a hole that is never filled, on more connections than there is room for their bytes.
	for conn := range 64 {
		feed(conn, 0, 2, nil)
		feed(conn, 1, 16, connect)
		for i := range 1000 {
			feed(conn, uint32(10000+1400*i), 16, huge[8:])
		}
	}
	// Packets that claim 256 MiB.
	for conn := 100; conn < 140; conn++ {
		feed(conn, 0, 2, nil)
		feed(conn, 1, 16, connect)
		seq := uint32(1 + len(connect))
		feed(conn, seq, 16, huge)
		for i := range 1200 {
			feed(conn, seq+uint32(len(huge)+1400*i), 16, huge[8:])
		}
	}
	// Connections that began before the capture and say nothing that can be understood.
	for conn := 200; conn < 900; conn++ {
		for i := range 40 {
			feed(conn, uint32(1400*i), 16, huge[8:])
		}
	}
	// More connections than are followed.
	for conn := 1000; conn < 1000+maxConns+5000; conn++ {
		feed(conn, 0, 2, nil)
	}
	if d.sum.Forgotten == 0 {
		t.Error("no connection was forgotten")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d.earlyBytes != 0 || d.heldBytes != 0 || d.probed != 0 || len(d.conns) != 0 {
		t.Errorf("at the end %d, %d and %d bytes and %d connections are left", d.earlyBytes, d.heldBytes, d.probed, len(d.conns))
	}
}

// The way of a packet from the frame to the line allocates nothing.
func TestNoAllocations(t *testing.T) {
	connect := testConnect(t)
	publish, err := (&codec.Publish{Topic: "site/1/temperature", Payload: []byte(`{"celsius":21.5}`), QoS: 1, PacketID: 7}).AppendTo(nil, codec.V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		sink func() func(*Packet) error
	}{
		{"list", func() func(*Packet) error { return NewList(io.Discard).Packet }},
		{"json", func() func(*Packet) error { return NewJSON(io.Discard).Packet }},
		{"stats", func() func(*Packet) error { return NewStats().Packet }},
	} {
		d := NewDissector(Config{Packet: tt.sink()})
		var f Frame
		seq := uint32(1)
		send := func(data []byte) {
			rawFrame(&f, 1, false, seq, 16, data)
			seq += uint32(len(data))
			if err := d.Frame(&f); err != nil {
				t.Fatal(err)
			}
		}
		rawFrame(&f, 1, false, 0, 2, nil)
		if err := d.Frame(&f); err != nil {
			t.Fatal(err)
		}
		send(connect)
		for range 100 {
			send(publish)
		}
		if n := testing.AllocsPerRun(1000, func() { send(publish) }); n > 0 {
			t.Errorf("%s: %.1f allocations for a packet", tt.name, n)
		}
		if d.sum.Packets < 1000 {
			t.Errorf("%s: only %d packets were found", tt.name, d.sum.Packets)
		}
	}
}
