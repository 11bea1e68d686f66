package pcap_test

import (
	"bytes"
	"encoding/binary"

	"github.com/mqlab/mqlab/pcap"
)

// TCP flags.
const (
	fin = 1
	syn = 2
	rst = 4
	ack = 16
)

// tape writes a capture of TCP segments between two hosts, raw IPv4 or IPv6 in pcap of microseconds.
type tape struct {
	buf   bytes.Buffer
	micro int64
	v6    bool
	cport uint16
	sport uint16
	snap  int // 0: frames are whole
}

func newTape() *tape {
	t := &tape{cport: 40000, sport: 1883, micro: 1_700_000_000_000_000}
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xA1B2C3D4)
	binary.LittleEndian.PutUint32(head[16:], 1<<18)
	binary.LittleEndian.PutUint32(head[20:], uint32(pcap.LinkRaw))
	t.buf.Write(head)
	return t
}

// seg is one segment: dir 0 is from the client.
type seg struct {
	dir      int
	seq, ack uint32
	flags    byte
	data     []byte
}

func (t *tape) add(s seg) {
	t.micro += 100
	src, dst := byte(1), byte(2)
	sport, dport := t.cport, t.sport
	if s.dir == 1 {
		src, dst, sport, dport = dst, src, dport, sport
	}
	var f []byte
	if t.v6 {
		f = append(f, 0x60, 0, 0, 0)
		f = binary.BigEndian.AppendUint16(f, uint16(20+len(s.data)))
		f = append(f, 6, 64)
		f = append(f, make([]byte, 15)...)
		f = append(f, src)
		f = append(f, make([]byte, 15)...)
		f = append(f, dst)
	} else {
		f = append(f, 0x45, 0)
		f = binary.BigEndian.AppendUint16(f, uint16(40+len(s.data)))
		f = append(f, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, src, 10, 0, 0, dst)
	}
	f = binary.BigEndian.AppendUint16(f, sport)
	f = binary.BigEndian.AppendUint16(f, dport)
	f = binary.BigEndian.AppendUint32(f, s.seq)
	f = binary.BigEndian.AppendUint32(f, s.ack)
	f = append(f, 0x50, s.flags, 0xFF, 0xFF, 0, 0, 0, 0)
	f = append(f, s.data...)
	kept := f
	if t.snap > 0 && len(f) > t.snap {
		kept = f[:t.snap]
	}
	head := make([]byte, 16)
	binary.LittleEndian.PutUint32(head, uint32(t.micro/1e6))
	binary.LittleEndian.PutUint32(head[4:], uint32(t.micro%1e6))
	binary.LittleEndian.PutUint32(head[8:], uint32(len(kept)))
	binary.LittleEndian.PutUint32(head[12:], uint32(len(f)))
	t.buf.Write(head)
	t.buf.Write(kept)
}

// open writes the handshake of TCP. Sequence numbers of data begin at isn+1.
func (t *tape) open(isn [2]uint32) {
	t.add(seg{dir: 0, seq: isn[0], flags: syn})
	t.add(seg{dir: 1, seq: isn[1], ack: isn[0] + 1, flags: syn | ack})
}
