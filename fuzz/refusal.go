package fuzz

import "github.com/mqlab/mqlab/codec"

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
