package pcap

import (
	"bytes"
	"encoding/hex"
	"sync"
)

// maxSessions bounds the TLS sessions whose secrets are kept.
const maxSessions = 1 << 16

// The labels of a key log that are of use.
const (
	labelMaster = iota // CLIENT_RANDOM: the master secret of TLS 1.2
	labelClientHandshake
	labelServerHandshake
	labelClientTraffic
	labelServerTraffic
	labelClientEarly
	labelCount
)

var labels = map[string]int{
	"CLIENT_RANDOM":                   labelMaster,
	"CLIENT_HANDSHAKE_TRAFFIC_SECRET": labelClientHandshake,
	"SERVER_HANDSHAKE_TRAFFIC_SECRET": labelServerHandshake,
	"CLIENT_TRAFFIC_SECRET_0":         labelClientTraffic,
	"SERVER_TRAFFIC_SECRET_0":         labelServerTraffic,
	"CLIENT_EARLY_TRAFFIC_SECRET":     labelClientEarly,
}

// KeyLog holds the secrets of TLS connections, in the format that browsers and TLS libraries write for the
// variable SSLKEYLOGFILE. The zero value is empty and ready; it is safe for concurrent use. It keeps 65,536
// sessions at most.
type KeyLog struct {
	mu       sync.Mutex // guards sessions
	sessions map[[32]byte]*secrets
}

// secrets are those of one session, by label.
type secrets [labelCount][]byte

// Add takes in lines of a key log. Comments, and lines of other kinds, are passed over.
func (k *KeyLog) Add(log []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for line := range bytes.Lines(log) {
		words := bytes.Fields(line)
		if len(words) != 3 || len(words[1]) != 64 || len(words[2]) > 256 {
			continue
		}
		label, ok := labels[string(words[0])]
		if !ok {
			continue
		}
		var random [32]byte
		if _, err := hex.Decode(random[:], words[1]); err != nil {
			continue
		}
		secret := make([]byte, len(words[2])/2)
		if _, err := hex.Decode(secret, words[2]); err != nil || len(secret) == 0 {
			continue
		}
		if k.sessions == nil {
			k.sessions = make(map[[32]byte]*secrets)
		}
		s := k.sessions[random]
		if s == nil {
			if len(k.sessions) >= maxSessions {
				continue
			}
			s = new(secrets)
			k.sessions[random] = s
		}
		s[label] = secret
	}
}

// find returns the secrets of the session with the random bytes of ClientHello.
func (k *KeyLog) find(random [32]byte) (secrets, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sessions[random]
	if s == nil {
		return secrets{}, false
	}
	return *s, true
}

// Sessions returns the number of sessions that there are secrets of.
func (k *KeyLog) Sessions() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.sessions)
}
