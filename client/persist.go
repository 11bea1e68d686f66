package client

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// Store keeps the records of one session: short keys with values. Package client/store has one in memory and
// one in a file. A Client calls its methods one at a time.
type Store interface {
	// Load calls yield for every record in ascending order of keys, and stops at its first error. Key and
	// value are valid during the call.
	Load(yield func(key, value []byte) error) error
	// Commit makes changes durable, all of them or none, before it returns: a nil value deletes the record,
	// any other replaces it. Keys and values may be used until it returns.
	Commit(changes iter.Seq2[[]byte, []byte]) error
}

// The records. A key is a letter and a big-endian number, so that records come back in the order in which the
// messages were accepted.
const (
	recordClient   = 'c' // whose session it is
	recordReceived = 'i' // + packet identifier: an inbound QoS 2 message that waits for PUBREL
	recordMessage  = 'm' // + sequence number: an outbound message
	recordState    = 's' // + sequence number: how far it has come; without one it was never sent
)

const storeFormat = 1

type storedClient struct {
	Format   int    `json:"format"`
	ClientID string `json:"client_id"`
}

// change is one record that is to be written, or with a nil value deleted.
type change struct{ key, value []byte }

// files is what is on its way to the Store. Guarded by Client.mu.
type files struct {
	ops    []change
	toks   []*Token // of messages whose records are in ops
	ticket uint64   // the last that the session gave out
	stored uint64   // the last that is durable
	busy   bool     // a commit is under way
	owner  string   // the identifier in the Store
	// inbound are the identifiers that have a record of QoS 2 messages received.
	inbound map[uint16]struct{}
	wake    chan struct{}
	done    chan struct{}
}

func recordKey(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), kind), n)
}

// keep takes a copy of a message, in the form of its record where there is a Store.
func (c *Client) keep(e *entry, m *Message) {
	props := m.Props.Raw()
	if c.cfg.Version != codec.V5 {
		props = nil
	}
	v := make([]byte, 0, 16+len(m.Topic)+len(props)+len(m.Payload))
	flags := byte(m.QoS)
	if m.Retain {
		flags |= 4
	}
	var expires uint64
	if e.expires != 0 {
		expires = uint64(c.start.Add(time.Duration(e.expires)).UnixNano())
	}
	v = append(v, flags)
	v = binary.BigEndian.AppendUint64(v, expires)
	v = binary.BigEndian.AppendUint16(v, uint16(len(m.Topic)))
	v = append(v, m.Topic...)
	v = codec.AppendVarint(v, uint32(len(props)))
	v = append(v, props...)
	v = append(v, m.Payload...)
	e.msg, _, _ = decodeMessage(v)
	if c.cfg.Store != nil {
		c.files.ops = append(c.files.ops, change{recordKey(recordMessage, e.seq), v})
		c.files.toks = append(c.files.toks, e.tok)
	}
}

var errRecord = errors.New("the record is cut short")

// decodeMessage reads the record of a message, of which the payload and the properties stay a part.
func decodeMessage(v []byte) (m Message, expires uint64, err error) {
	if len(v) < 11 {
		return m, 0, errRecord
	}
	m.QoS, m.Retain = codec.QoS(v[0]&3), v[0]&4 != 0
	expires = binary.BigEndian.Uint64(v[1:])
	n := int(binary.BigEndian.Uint16(v[9:]))
	v = v[11:]
	if len(v) < n {
		return m, 0, errRecord
	}
	m.Topic = string(v[:n])
	v = v[n:]
	size, n := codec.Varint(v)
	if n <= 0 || len(v)-n < int(size) {
		return m, 0, errRecord
	}
	v = v[n:]
	m.Props.SetRaw(v[:size:size])
	m.Payload = v[size:]
	if m.QoS == 0 || m.QoS > 2 {
		return m, 0, fmt.Errorf("it has QoS %d", m.QoS)
	}
	return m, expires, nil
}

// record passes an action of the session to the Store.
func (c *Client) record(a *session.Action[*entry]) {
	f := &c.files
	f.ticket = a.Ref
	put := func(kind byte, n uint64, v []byte) { f.ops = append(f.ops, change{recordKey(kind, n), v}) }
	switch {
	case a.Kind == session.Persist && a.Stage() == session.Received:
		put(recordReceived, uint64(a.ID), []byte{})
		f.inbound[a.ID] = struct{}{}
	case a.Kind == session.Persist && a.H != nil:
		c.orders++
		v := binary.BigEndian.AppendUint16([]byte{byte(a.Stage())}, a.ID)
		put(recordState, a.H.seq, binary.BigEndian.AppendUint64(v, c.orders))
	case a.Kind == session.Forget && a.Stage() == session.Received:
		put(recordReceived, uint64(a.ID), nil)
		delete(f.inbound, a.ID)
	case a.Kind == session.Clear:
		for id := range f.inbound { // outbound records go by the Release that each message has
			put(recordReceived, uint64(id), nil)
		}
		clear(f.inbound)
	}
}

// unrecord removes the records of a message: that of its state and, when it is over, its own.
func (c *Client) unrecord(e *entry, over bool) {
	if c.cfg.Store == nil {
		return
	}
	c.files.ops = append(c.files.ops, change{recordKey(recordState, e.seq), nil})
	if over {
		c.files.ops = append(c.files.ops, change{recordKey(recordMessage, e.seq), nil})
	}
}

// keepID notes whose session it is, once the identifier is known.
func (c *Client) keepID() {
	if c.cfg.Store == nil || c.files.owner == c.clientID || c.clientID == "" {
		return
	}
	c.files.owner = c.clientID
	v, err := json.Marshal(storedClient{storeFormat, c.clientID})
	if err == nil {
		c.files.ops = append(c.files.ops, change{[]byte{recordClient}, v})
		poke(c.files.wake)
	}
}

// commitLoop writes changes to the Store. While one commit runs the next gathers, so that however many messages
// there are the Store is waited for no more than it can bear.
func (c *Client) commitLoop() {
	defer close(c.files.done)
	f := &c.files
	for {
		c.mu.Lock()
		ops, toks, ticket := f.ops, f.toks, f.ticket
		f.ops, f.toks = nil, nil
		f.busy = len(ops) > 0
		over := c.dead != nil
		c.mu.Unlock()
		if len(ops) == 0 {
			if over {
				return
			}
			<-f.wake
			continue
		}
		err := c.cfg.Store.Commit(func(yield func(k, v []byte) bool) {
			for _, o := range ops {
				if !yield(o.key, o.value) {
					return
				}
			}
		})
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrStore, err)
			c.cfg.log("the store failed", "error", err)
			go c.end(err, nil) // the connection is cut: what it says cannot be made good any more
			for !over {
				<-f.wake
				c.mu.Lock()
				over = c.dead != nil
				c.mu.Unlock()
			}
			return
		}
		c.mu.Lock()
		f.busy = false
		if ticket > f.stored {
			f.stored = ticket
			c.step(session.Event[*entry]{Kind: session.Stored, Ref: ticket})
		}
		c.settle()
		l := c.link
		c.mu.Unlock()
		for _, t := range toks {
			close(t.stored)
		}
		if l != nil {
			poke(l.wake)
		}
	}
}

// restore takes the session back from the Store.
func (c *Client) restore() error {
	if c.cfg.Store == nil {
		return nil
	}
	c.files.inbound = map[uint16]struct{}{}
	type state struct {
		session.Record[*entry]
		order uint64
	}
	var owner storedClient
	entries := map[uint64]*entry{}
	var order []uint64
	var states []state
	err := c.cfg.Store.Load(func(key, v []byte) error {
		if len(key) == 1 && key[0] == recordClient {
			if json.Unmarshal(v, &owner) != nil || owner.Format != storeFormat {
				return errors.New("it was not written by this version of the client")
			}
			return nil
		}
		if len(key) != 9 {
			return fmt.Errorf("it holds a record %q that no client wrote", key)
		}
		n := binary.BigEndian.Uint64(key[1:])
		switch key[0] {
		case recordReceived:
			c.files.inbound[uint16(n)] = struct{}{}
			return c.ses.Restore(session.Record[*entry]{Stage: session.Received, QoS: 2, ID: uint16(n)})
		case recordMessage:
			m, expires, err := decodeMessage(slices.Clone(v))
			if err != nil {
				return fmt.Errorf("message %d: %w", n, err)
			}
			size := (&codec.Publish{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, PacketID: 1, Props: m.Props}).Size(c.cfg.Version)
			e := &entry{msg: m, seq: n, size: uint32(size), cost: size + 200}
			if expires != 0 {
				e.expires = session.Time(time.Unix(0, int64(expires)).Sub(c.start))
				if e.expires <= 0 {
					e.expires = 1
				}
			}
			entries[n] = e
			order = append(order, n)
			c.seq = max(c.seq, n)
			c.pending++
			c.bytes += e.cost
		case recordState:
			e := entries[n]
			if len(v) != 11 || e == nil {
				return fmt.Errorf("state %d belongs to no message", n)
			}
			st := state{order: binary.BigEndian.Uint64(v[3:])}
			st.Record = session.Record[*entry]{
				Stage: session.Stage(v[0]), QoS: e.msg.QoS, ID: binary.BigEndian.Uint16(v[1:]),
				Sent: true, Size: e.size, H: e,
			}
			states = append(states, st)
			c.orders = max(c.orders, st.order)
		default:
			return fmt.Errorf("it holds a record %q that no client wrote", key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the session from the store: %w", err)
	}
	switch {
	case owner.ClientID == "":
	case c.cfg.ClientID == "" || c.cfg.generated:
		c.clientID, c.files.owner = owner.ClientID, owner.ClientID
	case owner.ClientID != c.cfg.ClientID:
		return fmt.Errorf("the store holds the session of client %q, and this client is %q; use a store of its own", owner.ClientID, c.cfg.ClientID)
	default:
		c.files.owner = owner.ClientID
	}
	slices.SortFunc(states, func(a, b state) int { return int(int64(a.order - b.order)) })
	for _, st := range states {
		if err := c.ses.Restore(st.Record); err != nil {
			return fmt.Errorf("read the session from the store: %w", err)
		}
		delete(entries, st.H.seq)
	}
	for _, n := range order {
		if e := entries[n]; e != nil {
			c.queue.push(e)
		}
	}
	return nil
}
