package fuzz

import (
	"bytes"
	"context"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// refusesVersion reports whether a packet is the CONNACK of a server that does not speak the version it was asked for.
// Such a server answers in a form of its own, which the version that was asked for does not have.
func refusesVersion(frame []byte, asked codec.Version) bool {
	if len(frame) < 4 || frame[0] != byte(codec.TypeConnack)<<4 {
		return false
	}
	if asked == codec.V5 {
		return len(frame) == 4 && codec.ReasonCode(frame[3]) == codec.ReturnUnacceptableVersion
	}
	return codec.ReasonCode(frame[3]) == codec.UnsupportedProtocolVersion
}

// admits reports whether the target admits a client of the version, whatever else is wrong with its CONNACK: that is for
// the scripts to find.
func admits(ctx context.Context, dial Dial, hello *codec.Connect, wait time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	b, err := hello.AppendTo(nil, hello.Version)
	if err != nil {
		return false
	}
	nc, err := dialTarget(ctx, dial)
	if err != nil {
		return false
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(wait))
	if _, err := nc.Write(b); err != nil {
		return false
	}
	frame, err := codec.NewReader(nc, 512).Next()
	if err != nil || len(frame) < 4 || frame[0] != byte(codec.TypeConnack)<<4 || frame[3] != 0 {
		return false
	}
	if hello.Version == codec.V5 && len(frame) < 5 { // it answers as though it had been asked for 3.1.1
		return false
	}
	bye, _ := (&codec.Disconnect{}).AppendTo(nil, hello.Version)
	_, _ = nc.Write(bye)
	return true
}

// namesVersion reports whether the first packet of a connection names a version that exists. Which form the answer to
// any other has is for the server to choose.
func namesVersion(frame []byte) bool {
	_, n := codec.Varint(frame[1:])
	if codec.Type(frame[0]>>4) != codec.TypeConnect || n <= 0 {
		return false
	}
	body := frame[1+n:]
	if bytes.HasPrefix(body, []byte("\x00\x06MQIsdp\x03")) {
		return true
	}
	return bytes.HasPrefix(body, []byte("\x00\x04MQTT\x04")) || bytes.HasPrefix(body, []byte("\x00\x04MQTT\x05"))
}
