package flawed

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/fuzz"
)

// All returns every flaw, and at last the one that is none.
func All() []Flaw {
	return []Flaw{
		{
			"panic-unsubscribe", "CONNECT, SUBSCRIBE with several filters, UNSUBSCRIBE of one that was not subscribed: a nil map is written",
			3,
			[]fuzz.Oracle{fuzz.OracleDied},
			panicUnsubscribe,
		},
		{
			"panic-pubrel", "CONNECT, PUBLISH at QoS 2, PUBREL of another Packet Identifier: an index out of range",
			3,
			[]fuzz.Oracle{fuzz.OracleDied},
			panicPubrel,
		},
		{
			"panic-will-takeover", "CONNECT with a Will, then a CONNECT of the same client without one: a nil pointer",
			2,
			[]fuzz.Oracle{fuzz.OracleDied},
			panicWillTakeover,
		},
		{
			"deadlock", "CONNECT, SUBSCRIBE to a Shared Subscription, UNSUBSCRIBE from it: a lock that every PUBLISH takes is kept",
			3,
			[]fuzz.Oracle{fuzz.OracleHang},
			deadlock,
		},
		{
			"deaf-long-lived", "CONNECT with a retained Will, and the connection is dropped: connections that are open get no message any more, new ones do",
			1,
			[]fuzz.Oracle{fuzz.OracleHang, fuzz.OracleDelivery},
			deafLongLived,
		},
		{
			"leak-connection", "CONNECT, SUBSCRIBE, UNSUBSCRIBE, and the client leaves: its socket and two goroutines stay",
			3,
			[]fuzz.Oracle{fuzz.OracleLeak},
			leakConnection,
		},
		{
			"grow-memory", "CONNECT, SUBSCRIBE, the same SUBSCRIBE again: a mebibyte is kept for good",
			3,
			[]fuzz.Oracle{fuzz.OracleMemory},
			growMemory,
		},
		{
			"grow-address-space", "CONNECT, retained PUBLISH, SUBSCRIBE: 256 MiB of addresses are reserved for good, and not touched",
			3,
			[]fuzz.Oracle{fuzz.OracleMemory},
			growAddressSpace,
		},
		{
			"qos2-twice", "CONNECT, PUBLISH at QoS 2, the same again before PUBREL: the next QoS 2 message of somebody else comes twice",
			3,
			[]fuzz.Oracle{fuzz.OracleDelivery},
			qos2Twice,
		},
		{
			"qos1-lost", "CONNECT, SUBSCRIBE to what others publish, a message at QoS 1 that is not acknowledged, and the client leaves: the next QoS 1 message of somebody else is lost",
			2,
			[]fuzz.Oracle{fuzz.OracleDelivery, fuzz.OracleHang},
			qos1Lost,
		},
		{
			"malformed-suback", "CONNECT, SUBSCRIBE, another SUBSCRIBE with the same Packet Identifier: SUBACK has a Reason Code that does not exist",
			3,
			[]fuzz.Oracle{fuzz.OracleMalformed},
			malformedSuback,
		},
		{
			"wrong-puback", "CONNECT, PUBLISH at QoS 2, PUBLISH at QoS 1 before PUBREL: PUBACK has the identifier of the former",
			3,
			[]fuzz.Oracle{fuzz.OracleRule},
			wrongPuback,
		},
		{
			"spin", "CONNECT, two PINGREQ in a row, and the client leaves: a goroutine runs in circles",
			3,
			[]fuzz.Oracle{fuzz.OracleSpin},
			spin,
		},
		{
			"stop-accepting", "CONNECT, SUBSCRIBE, a second CONNECT: the listener is closed, connections live on",
			3,
			[]fuzz.Oracle{fuzz.OracleDeaf},
			stopAccepting,
		},
		{
			"takeover-race", "a client is taken over twice at the same moment, or two are: a map is written by both",
			3,
			[]fuzz.Oracle{fuzz.OracleDied},
			takeoverRace,
		},
		{
			"retained-mixed-up", "CONNECT, retained PUBLISH, an empty one: the last byte of retained messages of all topics is another from then on",
			3,
			[]fuzz.Oracle{fuzz.OracleDelivery},
			retainedMixedUp,
		},
		{"none", "no flaw: nothing may be found, however long it is looked for", 0, nil, func(*Server) hooks { return hooks{} }},
	}
}

func panicUnsubscribe(*Server) hooks {
	return hooks{up: func(l *link, p codec.Packet, frame []byte) []byte {
		switch p := p.(type) {
		case *codec.Subscribe:
			if len(p.Filters) > 1 {
				l.note("several")
			}
			for _, f := range p.Filters {
				l.note("filter " + f.Filter)
			}
		case *codec.Unsubscribe:
			for _, f := range p.Filters {
				if l.noted("several") > 0 && l.noted("filter "+f) == 0 {
					remove(nil, f)
				}
			}
		}
		return frame
	}}
}

// remove keeps in mind that a filter is gone.
func remove(removed map[string]bool, filter string) { removed[filter] = true }

func panicPubrel(*Server) hooks {
	return hooks{up: func(l *link, p codec.Packet, frame []byte) []byte {
		switch p := p.(type) {
		case *codec.Publish:
			if p.QoS == 2 {
				l.note(fmt.Sprint("open ", p.PacketID))
				l.note("open")
			}
		case *codec.Pubrel:
			if l.noted("open") > 0 && l.noted(fmt.Sprint("open ", p.PacketID)) == 0 {
				slots := make([]uint16, l.noted("nothing"))
				slots[p.PacketID&7] = 0
			}
		}
		return frame
	}}
}

func panicWillTakeover(*Server) hooks {
	var mu sync.Mutex
	wills := map[string]*codec.Will{} // of clients that are connected
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			c, ok := p.(*codec.Connect)
			if !ok || c.ClientID == "" || l.connects > 1 {
				return frame
			}
			id := strings.Clone(c.ClientID)
			mu.Lock()
			defer mu.Unlock()
			_, connected := wills[id]
			var own *codec.Will
			if c.HasWill {
				own = &codec.Will{QoS: c.Will.QoS}
			}
			if old := wills[id]; connected && old != nil && own.QoS > 2 {
				return nil
			}
			wills[id] = own
			return frame
		},
		left: func(l *link) bool {
			mu.Lock()
			defer mu.Unlock()
			delete(wills, l.id)
			return false
		},
	}
}

func shared(filters ...string) bool {
	for _, f := range filters {
		if strings.HasPrefix(f, "$share/") {
			return true
		}
	}
	return false
}

func deadlock(*Server) hooks {
	var routes sync.Mutex
	return hooks{up: func(l *link, p codec.Packet, frame []byte) []byte {
		switch p := p.(type) {
		case *codec.Subscribe:
			for _, f := range p.Filters {
				if shared(f.Filter) && l.version == codec.V5 {
					l.note("shared")
				}
			}
		case *codec.Unsubscribe:
			if shared(p.Filters...) && l.noted("shared") > 0 {
				routes.Lock()
			}
		case *codec.Publish:
			routes.Lock()
			defer routes.Unlock()
		}
		return frame
	}}
}

func deafLongLived(*Server) hooks {
	var epoch atomic.Int64
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			switch p := p.(type) {
			case *codec.Connect:
				l.mu.Lock()
				l.notes["epoch"] = int(epoch.Load())
				l.mu.Unlock()
				if p.HasWill && p.Will.Retain {
					l.note("will")
				}
			case *codec.Disconnect:
				l.forget("will")
			}
			return frame
		},
		down: func(l *link, p codec.Packet, frame []byte) []byte {
			if m, ok := p.(*codec.Publish); ok && m.QoS > 0 && l.noted("epoch") < int(epoch.Load()) {
				return nil
			}
			return frame
		},
		left: func(l *link) bool {
			if l.noted("will") > 0 {
				epoch.Add(1)
			}
			return false
		},
	}
}

func leakConnection(*Server) hooks {
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			switch p := p.(type) {
			case *codec.Subscribe:
				l.note("filter " + p.Filters[0].Filter)
			case *codec.Unsubscribe:
				if l.noted("filter "+p.Filters[0]) > 0 {
					l.note("leak")
				}
			}
			return frame
		},
		left: func(l *link) bool {
			if l.noted("leak") == 0 {
				return false
			}
			for range 2 {
				go func() { select {} }()
			}
			return true
		},
	}
}

func growMemory(*Server) hooks {
	var mu sync.Mutex
	var kept [][]byte
	return hooks{up: func(l *link, p codec.Packet, frame []byte) []byte {
		if s, ok := p.(*codec.Subscribe); ok && l.note("filter "+s.Filters[0].Filter) > 1 {
			mu.Lock()
			defer mu.Unlock()
			if len(kept) < 512 {
				kept = append(kept, bytes.Repeat([]byte{1}, 1<<20))
			}
		}
		return frame
	}}
}

func growAddressSpace(*Server) hooks {
	var mu sync.Mutex
	n := 0
	return hooks{up: func(l *link, p codec.Packet, frame []byte) []byte {
		switch p := p.(type) {
		case *codec.Publish:
			if p.Retain {
				l.note("retained")
			}
		case *codec.Subscribe:
			if l.noted("retained") > 0 {
				mu.Lock()
				defer mu.Unlock()
				if n++; n < 256 {
					reserve(256 << 20)
				}
			}
		}
		return frame
	}}
}

// copyID is the Packet Identifier of a second copy.
const copyID = 0xFFF0

func qos2Twice(*Server) hooks {
	var armed atomic.Int64
	var by atomic.Pointer[link]
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			switch p := p.(type) {
			case *codec.Publish:
				if p.QoS == 2 && l.note(fmt.Sprint("open ", p.PacketID)) == 2 {
					by.Store(l)
					armed.Store(1)
				}
			case *codec.Pubrel:
				l.forget(fmt.Sprint("open ", p.PacketID))
			case *codec.Pubrec: // the exchange of the copy is carried on here
				if p.PacketID == copyID && l.noted("copy") > 0 {
					_ = l.toClient(l.encode(&codec.Pubrel{PacketID: copyID}))
					return nil
				}
			case *codec.Pubcomp:
				if p.PacketID == copyID && l.noted("copy") > 0 {
					l.forget("copy")
					return nil
				}
			}
			return frame
		},
		down: func(l *link, p codec.Packet, frame []byte) []byte {
			m, ok := p.(*codec.Publish)
			if !ok || m.QoS != 2 || m.PacketID == copyID || by.Load() == l || l.noted("copy") > 0 || !armed.CompareAndSwap(1, 0) {
				return frame
			}
			l.note("copy")
			again := codec.Clone(m).(*codec.Publish)
			again.PacketID = copyID
			return append(bytes.Clone(frame), l.encode(again)...)
		},
	}
}

func qos1Lost(*Server) hooks {
	var armed atomic.Int64
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			if a, ok := p.(*codec.Puback); ok {
				l.forget(fmt.Sprint("open ", a.PacketID))
			}
			return frame
		},
		down: func(l *link, p codec.Packet, frame []byte) []byte {
			m, ok := p.(*codec.Publish)
			if !ok || m.QoS != 1 {
				return frame
			}
			if armed.CompareAndSwap(1, 0) {
				return nil
			}
			l.note(fmt.Sprint("open ", m.PacketID))
			return frame
		},
		left: func(l *link) bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			for k := range l.notes {
				if strings.HasPrefix(k, "open ") {
					armed.Store(1)
				}
			}
			return false
		},
	}
}

func malformedSuback(*Server) hooks {
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			if s, ok := p.(*codec.Subscribe); ok {
				l.note(fmt.Sprint("subscribe ", s.PacketID))
			}
			return frame
		},
		down: func(l *link, p codec.Packet, frame []byte) []byte {
			if s, ok := p.(*codec.Suback); ok && l.note(fmt.Sprint("suback ", s.PacketID)) > 1 {
				frame = bytes.Clone(frame)
				frame[len(frame)-1] = 0x7F
			}
			return frame
		},
	}
}

func wrongPuback(*Server) hooks {
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			l.mu.Lock()
			defer l.mu.Unlock()
			switch p := p.(type) {
			case *codec.Publish:
				if p.QoS == 2 {
					l.notes["open"] = int(p.PacketID)
				}
			case *codec.Pubrel:
				delete(l.notes, "open")
			}
			return frame
		},
		down: func(l *link, p codec.Packet, frame []byte) []byte {
			if a, ok := p.(*codec.Puback); ok {
				if id := l.noted("open"); id != 0 && id != int(a.PacketID) {
					return l.encode(&codec.Puback{PacketID: uint16(id)})
				}
			}
			return frame
		},
	}
}

func spin(s *Server) hooks {
	var spinning atomic.Int64
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			switch p.(type) {
			case *codec.Pingreq:
				l.note("ping")
			default:
				if l.noted("ping") < 2 {
					l.forget("ping")
				}
			}
			return frame
		},
		left: func(l *link) bool {
			if l.noted("ping") > 1 && spinning.Add(1) <= 4 {
				go func() {
					for over := false; !over; runtime.Gosched() {
						s.mu.Lock()
						over = s.done
						s.mu.Unlock()
					}
				}()
			}
			return false
		},
	}
}

func stopAccepting(s *Server) hooks {
	return hooks{up: func(l *link, p codec.Packet, frame []byte) []byte {
		switch p.(type) {
		case *codec.Subscribe:
			l.note("subscribed")
		case *codec.Connect:
			if l.noted("subscribed") > 0 {
				_ = s.l.Close()
			}
		}
		return frame
	}}
}

func takeoverRace(*Server) hooks {
	var mu sync.Mutex
	connected := map[string]int{}
	var racing atomic.Int64
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			c, ok := p.(*codec.Connect)
			if !ok || c.ClientID == "" || l.connects > 1 {
				return frame
			}
			mu.Lock()
			connected[l.id]++
			takeover := connected[l.id] > 1
			mu.Unlock()
			if takeover {
				// As an unguarded map would be found out, but on every machine: the runtime sees two writers by chance.
				if racing.Add(1) > 1 {
					writeBoth()
				}
				pause := time.NewTimer(200 * time.Microsecond)
				<-pause.C
				racing.Add(-1)
			}
			return frame
		},
		left: func(l *link) bool {
			mu.Lock()
			defer mu.Unlock()
			connected[l.id]--
			return false
		},
	}
}

// writeBoth is where two writers of a map meet.
func writeBoth() { panic("two takeovers wrote the sessions at the same time") }

func retainedMixedUp(*Server) hooks {
	var mixed atomic.Bool
	return hooks{
		up: func(l *link, p codec.Packet, frame []byte) []byte {
			if m, ok := p.(*codec.Publish); ok && m.Retain {
				switch {
				case len(m.Payload) > 0:
					l.note("retained")
				case l.noted("retained") > 0:
					mixed.Store(true)
				}
			}
			return frame
		},
		down: func(l *link, p codec.Packet, frame []byte) []byte {
			m, ok := p.(*codec.Publish)
			if !ok || !m.Retain || len(m.Payload) == 0 || !mixed.Load() {
				return frame
			}
			frame = bytes.Clone(frame)
			frame[len(frame)-1] ^= 1
			return frame
		},
	}
}
