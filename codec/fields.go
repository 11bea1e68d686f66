package codec

import "encoding/binary"

// Field is one field of a packet with its place in the frame.
type Field struct {
	Name   string // the standard's name, such as "Topic Name"
	Kind   Kind   // KindNone: bytes without a structure of their own
	Prop   PropID // not 0: the field is this property, identifier included
	Offset int    // bytes from the start of the fixed header
	Len    int    // bytes, with length prefix or identifier
}

// The names of fields that a packet can hold in more than one place or type.
const (
	FieldHeader         = "Packet type and flags"
	FieldRemaining      = "Remaining Length"
	FieldProtocolName   = "Protocol Name"
	FieldLevel          = "Protocol Level"
	FieldConnectFlags   = "Connect Flags"
	FieldKeepAlive      = "Keep Alive"
	FieldPropertyLength = "Property Length"
	FieldClientID       = "Client Identifier"
	FieldWillTopic      = "Will Topic"
	FieldWillPayload    = "Will Payload"
	FieldUsername       = "User Name"
	FieldPassword       = "Password"
	FieldAckFlags       = "Connect Acknowledge Flags"
	FieldTopic          = "Topic Name"
	FieldPacketID       = "Packet Identifier"
	FieldReason         = "Reason Code"
	FieldFilter         = "Topic Filter"
	FieldOptions        = "Subscription Options"
	FieldPayload        = "Payload"
	FieldSurplus        = "Surplus bytes"
)

// AppendFields appends the fields of a frame in wire order. It judges nothing: a field that is
// cut ends the walk and covers what there is of it, and bytes that no field claims become a
// last field of their own. The version of a CONNECT is taken from the packet itself.
func AppendFields(dst []Field, frame []byte, v Version) []Field {
	if len(frame) == 0 {
		return dst
	}
	w := walker{b: frame, fields: dst}
	w.fixed(FieldHeader, KindByte, 1)
	w.varint(FieldRemaining)
	switch t := Type(frame[0] >> 4); t {
	case TypeConnect:
		w.connect(v)
	case TypeConnack:
		w.fixed(FieldAckFlags, KindByte, 1)
		w.fixed(FieldReason, KindByte, 1)
		w.properties(v == V5)
	case TypePublish:
		w.text(FieldTopic, KindString)
		if frame[0]&flagQoS != 0 {
			w.fixed(FieldPacketID, KindUint16, 2)
		}
		w.properties(v == V5)
		w.rest(FieldPayload)
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		w.fixed(FieldPacketID, KindUint16, 2)
		w.optionalReason(v)
	case TypeDisconnect, TypeAuth:
		w.optionalReason(v)
	case TypeSubscribe, TypeUnsubscribe:
		w.fixed(FieldPacketID, KindUint16, 2)
		w.properties(v == V5)
		for w.more() {
			w.text(FieldFilter, KindString)
			if t == TypeSubscribe && w.more() {
				w.fixed(FieldOptions, KindByte, 1)
			}
		}
	case TypeSuback, TypeUnsuback:
		w.fixed(FieldPacketID, KindUint16, 2)
		w.properties(v == V5)
		for w.more() {
			w.fixed(FieldReason, KindByte, 1)
		}
	}
	w.rest(FieldSurplus)
	return w.fields
}

// walker appends fields; a field that is cut moves it to the end.
type walker struct {
	b      []byte
	i      int
	fields []Field
}

func (w *walker) more() bool { return w.i < len(w.b) }

// add appends a field of n bytes, or of what is left of them.
func (w *walker) add(name string, kind Kind, id PropID, n int) {
	if !w.more() {
		return
	}
	n = min(n, len(w.b)-w.i)
	w.fields = append(w.fields, Field{Name: name, Kind: kind, Prop: id, Offset: w.i, Len: n})
	w.i += n
}

func (w *walker) fixed(name string, kind Kind, n int) { w.add(name, kind, 0, n) }

func (w *walker) rest(name string) { w.add(name, KindNone, 0, len(w.b)-w.i) }

// text adds a field with a two-byte length.
func (w *walker) text(name string, kind Kind) {
	n := 2
	if w.i+2 <= len(w.b) {
		n += int(binary.BigEndian.Uint16(w.b[w.i:]))
	}
	w.add(name, kind, 0, n)
}

func (w *walker) varint(name string) uint32 {
	v, n := Varint(w.b[w.i:])
	if n < 0 {
		n = 5
	} else if n == 0 {
		n = len(w.b) - w.i
	}
	w.add(name, KindVarint, 0, n)
	return v
}

func (w *walker) optionalReason(v Version) {
	if v == V5 {
		w.fixed(FieldReason, KindByte, 1)
		w.properties(true)
	}
}

func (w *walker) properties(has bool) {
	if !has || !w.more() {
		return
	}
	n := int(w.varint(FieldPropertyLength))
	whole := w.b
	end := min(w.i+n, len(whole))
	w.b = whole[:end]
	for w.more() {
		pr, n := parseProperty(w.b[w.i:])
		if n == 0 {
			w.rest("Undecodable property")
			break
		}
		w.add(pr.ID.String(), pr.ID.Info().Kind, pr.ID, n)
	}
	w.b = whole
}

func (w *walker) connect(v Version) {
	w.text(FieldProtocolName, KindString)
	if w.more() {
		if level := Version(w.b[w.i] & 0x7F); level >= V31 && level <= V5 {
			v = level
		}
	}
	w.fixed(FieldLevel, KindByte, 1)
	var flags byte
	if w.more() {
		flags = w.b[w.i]
	}
	w.fixed(FieldConnectFlags, KindByte, 1)
	w.fixed(FieldKeepAlive, KindUint16, 2)
	w.properties(v == V5)
	w.text(FieldClientID, KindString)
	if flags&flagWill != 0 {
		w.properties(v == V5)
		w.text(FieldWillTopic, KindString)
		w.text(FieldWillPayload, KindBinary)
	}
	if flags&flagUsername != 0 {
		w.text(FieldUsername, KindString)
	}
	if flags&flagPassword != 0 {
		w.text(FieldPassword, KindBinary)
	}
}
