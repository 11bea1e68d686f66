package loadgen

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
)

// proofSize is the length of the header that makes a message verifiable. It stands at the beginning of a generated
// payload, or in hexadecimal digits in a User Property or wherever a template has {proof}:
//
//	4 bytes  the run
//	4 bytes  publisher: the client's number in the workload
//	3 bytes  stream: the topic and QoS among those that the client publishes
//	5 bytes  sequence number in the stream, from 0
//	6 bytes  when the message was due, in 256 ns since the first one of the run
//	2 bytes  check of the above, so that a damaged payload does not pass for another message
//	4 bytes  check of the above, the Topic Name and the rest of the payload
const proofSize = 28

// proofProperty is the name of the User Property that carries the header where the payload is the user's.
const proofProperty = "mqlab"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// proof is the header's content.
type proof struct {
	publisher uint32
	stream    uint32
	seq       uint64
	due       int64 // nanoseconds
}

// put writes the header, its last check excepted.
func (p *proof) put(b []byte, run uint32) {
	_ = b[proofSize-1]
	binary.BigEndian.PutUint32(b, run)
	binary.BigEndian.PutUint32(b[4:], p.publisher)
	binary.BigEndian.PutUint64(b[8:], uint64(p.stream)<<40|p.seq&(1<<40-1))
	binary.BigEndian.PutUint64(b[16:], uint64(p.due>>8)<<16)
	binary.BigEndian.PutUint16(b[22:], headerCheck(b))
}

// headerCheck folds the header into 16 bits.
func headerCheck(b []byte) uint16 {
	x := binary.BigEndian.Uint64(b)*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(b[8:])
	x = x*0xbf58476d1ce4e5b9 ^ binary.BigEndian.Uint64(b[14:])
	x *= 0x94d049bb133111eb
	return uint16(x >> 48)
}

// sealPayload sets the last check of a payload that begins with the header.
func sealPayload(payload []byte, topic string) {
	binary.BigEndian.PutUint32(payload[24:], payloadCheck(payload, topic))
}

func payloadCheck(payload []byte, topic string) uint32 {
	c := crc32.Update(topicCheck(topic), castagnoli, payload[:24])
	return crc32.Update(c, castagnoli, payload[28:])
}

func topicCheck(topic string) uint32 {
	return crc32.Update(0, castagnoli, viewBytes(topic))
}

// finding is what an arrival's payload says.
type finding uint8

const (
	unproven  finding = iota // no header of this run
	foreign                  // a header of another run
	intact                   // as it was sent
	damaged                  // the header is right, what it protects is not
	destroyed                // there is a header of this run and it is damaged
)

// read reads a header and its first check.
func (p *proof) read(b []byte, run uint32) finding {
	if len(b) < proofSize {
		return unproven
	}
	check := headerCheck(b) == binary.BigEndian.Uint16(b[22:])
	switch same := binary.BigEndian.Uint32(b) == run; {
	case !check && same:
		return destroyed
	case !check:
		return unproven
	case !same:
		return foreign
	}
	p.publisher = binary.BigEndian.Uint32(b[4:])
	x := binary.BigEndian.Uint64(b[8:])
	p.stream, p.seq = uint32(x>>40), x&(1<<40-1)
	p.due = int64(binary.BigEndian.Uint64(b[16:])>>16) << 8
	return intact
}

// readPayload reads and checks a payload that begins with the header.
func (p *proof) readPayload(payload []byte, topic string, run uint32) finding {
	f := p.read(payload, run)
	if f == intact && payloadCheck(payload, topic) != binary.BigEndian.Uint32(payload[24:]) {
		return damaged
	}
	return f
}

// sealText computes the last check of a payload that holds the header's digits at an offset, or has the header elsewhere
// (offset -1), and puts it into the header.
func sealText(header, payload []byte, at int, topic string) {
	binary.BigEndian.PutUint32(header[24:], textCheck(header, payload, at, topic))
}

// textCheck leaves the digits themselves out: they hold the check.
func textCheck(header, payload []byte, at int, topic string) uint32 {
	c := crc32.Update(topicCheck(topic), castagnoli, header[:24])
	if at < 0 {
		return crc32.Update(c, castagnoli, payload)
	}
	c = crc32.Update(c, castagnoli, payload[:at])
	return crc32.Update(c, castagnoli, payload[at+2*proofSize:])
}

// readText reads and checks a header in hexadecimal digits: in the User Property (digits), or, where that is nil, in the
// payload. runDigits are the digits of the run.
func (p *proof) readText(digits, payload []byte, topic string, run uint32, runDigits []byte) finding {
	at := -1
	if digits == nil {
		if at = bytes.Index(payload, runDigits); at < 0 || len(payload) < at+2*proofSize {
			return unproven
		}
		digits = payload[at:]
	}
	if len(digits) < 2*proofSize {
		return unproven
	}
	var header [proofSize]byte
	if _, err := hex.Decode(header[:], digits[:2*proofSize]); err != nil {
		return destroyed
	}
	f := p.read(header[:], run)
	if f == intact && textCheck(header[:], payload, at, topic) != binary.BigEndian.Uint32(header[24:]) {
		return damaged
	}
	return f
}
