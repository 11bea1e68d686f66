package codec

import (
	"errors"
	"slices"
	"strings"
)

// Breakage is one named way to break a legal packet.
type Breakage uint8

// The breakages. Each breaks one rule, which [Breakage.Raises] names, and leaves the rest of the
// packet as it was.
const (
	BreakReservedType Breakage = iota + 1
	BreakReservedFlag
	BreakVarintPadded
	BreakVarintFiveBytes
	BreakHeaderOnly
	BreakTruncated
	BreakTrailingByte
	BreakPacketIDZero
	BreakReasonCode

	BreakUTF8
	BreakSurrogate
	BreakOverlongUTF8
	BreakNUL

	BreakProtocolName
	BreakProtocolLevel
	BreakConnectReservedFlag
	BreakWillQoS3
	BreakWillQoSWithoutWill
	BreakWillRetainWithoutWill
	BreakWillMissing
	BreakWillTopicWildcard
	BreakWillTopicEmpty
	BreakUsernameMissing
	BreakUsernameWithoutFlag
	BreakPasswordMissing
	BreakPasswordWithoutUsername
	BreakClientIDEmpty
	BreakClientIDMissing
	BreakConnackFlags
	BreakSessionPresentRefused

	BreakQoS3
	BreakDupQoS0
	BreakTopicEmpty
	BreakTopicHash
	BreakTopicPlus

	BreakNoFilters
	BreakFilterEmpty
	BreakFilterHash
	BreakFilterPlus
	BreakShareNameEmpty
	BreakShareNameWildcard
	BreakShareFilterMissing
	BreakOptionsMissing
	BreakSubscribeQoS3
	BreakSubscribeReserved
	BreakRetainHandling3
	BreakNoLocalShared

	BreakPropertyLengthMissing
	BreakPropertyLengthLong
	BreakPropertyLengthShort
	BreakPropertyUnknown
	BreakPropertyForeign
	BreakPropertyDuplicate
	BreakPropertyUTF8
	BreakPayloadFormat2
	BreakReceiveMaximumZero
	BreakMaximumPacketSizeZero
	BreakTopicAliasZero
	BreakSubscriptionIDZero
	BreakSubscriptionIDFromClient
	BreakResponseTopicWildcard
	BreakRequestProblemInfo2
	BreakRequestResponseInfo2
	BreakAuthDataWithoutMethod
	BreakAuthMethodMissing
	BreakServerSessionExpiry

	breakCount
)

// ErrNotApplicable reports that a packet cannot be broken in the way asked for.
var ErrNotApplicable = errors.New("the breakage does not apply to this packet")

// breakInfo describes a breakage: the faults of which a strict Decoder finds one, and the
// change. The change returns false where it does not apply.
type breakInfo struct {
	slug   string
	faults []fault
	only5  bool // only version 5.0 has what is broken
	only4  bool // 5.0 allows the result
	apply  func(d *draft) bool
}

// Breakages lists every breakage.
func Breakages() []Breakage {
	all := make([]Breakage, 0, breakCount-1)
	for b := Breakage(1); b < breakCount; b++ {
		all = append(all, b)
	}
	return all
}

// String returns the stable name of the breakage, such as "packet-id-zero".
func (b Breakage) String() string {
	if b == 0 || b >= breakCount {
		return "unknown breakage"
	}
	return breakages[b].slug
}

// Raises returns the rules of which a strict Decoder names one, sorted: which it is can depend
// on the packet type. The list is empty where the version has no number for the fault.
func (b Breakage) Raises(v Version) []string {
	if b == 0 || b >= breakCount {
		return nil
	}
	var ids []string
	for _, f := range breakages[b].faults {
		ids = append(ids, strings.Fields(faults[f].rules(v))...)
	}
	if v == V5 {
		ids = append(ids, propertyBreakRules[b]...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// propertyBreakRules are the rules of property faults, which depend on property and packet.
var propertyBreakRules = map[Breakage][]string{
	BreakPropertyDuplicate: slices.Concat(sortedValues(duplicateRules), []string{"P-3.2.2.3-connack-duplicates"}),
	BreakPayloadFormat2:    {"P-3.3.2.3.2-payload-format-value"},
	BreakReceiveMaximumZero: {
		rangeRules[propRule{TypeConnect, PropReceiveMaximum}], rangeRules[propRule{TypeConnack, PropReceiveMaximum}],
	},
	BreakMaximumPacketSizeZero: {
		rangeRules[propRule{TypeConnect, PropMaximumPacketSize}], rangeRules[propRule{TypeConnack, PropMaximumPacketSize}],
	},
	BreakSubscriptionIDZero: {
		rangeRules[propRule{TypeSubscribe, PropSubscriptionID}], rangeRules[propRule{TypePublish, PropSubscriptionID}],
	},
	BreakRequestProblemInfo2:  {rangeRules[propRule{TypeConnect, PropRequestProblemInfo}]},
	BreakRequestResponseInfo2: {rangeRules[propRule{TypeConnect, PropRequestResponseInfo}]},
}

func sortedValues(m map[propRule]string) []string {
	var s []string
	for _, v := range m {
		s = append(s, v)
	}
	slices.Sort(s)
	return s
}

// Faults returns the names of the faults of which a strict Decoder finds one.
func (b Breakage) Faults() []string {
	if b == 0 || b >= breakCount {
		return nil
	}
	var names []string
	for _, f := range breakages[b].faults {
		names = append(names, faults[f].name)
	}
	return names
}

// From returns the side by whose packets alone the rule can be broken, Either for most breakages.
func (b Breakage) From() Side {
	switch b {
	case BreakSubscriptionIDFromClient:
		return Client
	case BreakServerSessionExpiry:
		return Server
	}
	return Either
}

// Applies reports whether a legal frame can be broken in this way.
func (b Breakage) Applies(frame []byte, v Version) bool {
	_, err := Break(frame, v, b)
	return err == nil
}

// Break returns a copy of a legal frame broken in one way. The Remaining Length and the Property
// Length of the result agree with its bytes, except where they are what is broken. The error is
// [ErrNotApplicable] where the packet has nothing that could be broken so; a frame that is not
// legal is refused with its fault.
func Break(frame []byte, v Version, how Breakage) ([]byte, error) {
	if how == 0 || how >= breakCount {
		return nil, ErrNotApplicable
	}
	if p, err := (&Decoder{Version: v}).Decode(frame); p == nil {
		return nil, err
	}
	d := newDraft(frame, v)
	in := &breakages[how]
	if in.only5 && d.v != V5 || in.only4 && d.v == V5 || !in.apply(d) || slices.Equal(d.frame, frame) {
		return nil, ErrNotApplicable
	}
	return d.frame, nil
}

// draft is a frame under change. Fields are found anew after each change.
type draft struct {
	frame []byte
	v     Version
	t     Type
}

func newDraft(frame []byte, v Version) *draft {
	d := &draft{frame: slices.Clone(frame), v: v, t: Type(frame[0] >> 4)}
	if f, ok := d.find(FieldLevel); ok {
		if level := Version(frame[f.Offset]); level >= V31 && level <= V5 {
			d.v = level
		}
	}
	return d
}

func (d *draft) fields() []Field { return AppendFields(nil, d.frame, d.v) }

// find returns the first field of the name.
func (d *draft) find(name string) (Field, bool) {
	for _, f := range d.fields() {
		if f.Name == name && f.Prop == 0 {
			return f, true
		}
	}
	return Field{}, false
}

// body returns where the body begins.
func (d *draft) body() int {
	f, _ := d.find(FieldRemaining)
	return f.Offset + f.Len
}

// splice replaces n bytes at the offset and sets the Remaining Length right.
func (d *draft) splice(at, n int, with ...byte) {
	start := d.body()
	body := slices.Concat(d.frame[start:at], with, d.frame[at+n:])
	d.frame = append(AppendVarint([]byte{d.frame[0]}, uint32(len(body))), body...)
}

// set changes one byte in place.
func (d *draft) set(f Field, b byte) bool {
	d.frame[f.Offset] = b
	return true
}

// at returns the first byte of a field.
func (d *draft) at(f Field) byte { return d.frame[f.Offset] }

// truncate ends the packet at the offset.
func (d *draft) truncate(at int) bool {
	d.splice(at, len(d.frame)-at)
	return true
}

// replaceText puts a string in the place of a field with a two-byte length.
func (d *draft) replaceText(name, s string) bool {
	f, ok := d.find(name)
	if !ok {
		return false
	}
	d.splice(f.Offset, f.Len, appendText(nil, s)...)
	return true
}

// block is a Property Length with the properties behind it.
type block struct {
	length Field
	props  []Field
	end    int
}

// firstBlock returns the first property block of the packet, which it makes where a short form
// has left it out.
func (d *draft) firstBlock() (block, bool) {
	if d.v != V5 {
		return block{}, false
	}
	for range 2 {
		fields := d.fields()
		for i, f := range fields {
			if f.Name != FieldPropertyLength {
				continue
			}
			b := block{length: f, end: f.Offset + f.Len}
			for _, p := range fields[i+1:] {
				if p.Prop == 0 {
					break
				}
				b.props = append(b.props, p)
				b.end = p.Offset + p.Len
			}
			return b, true
		}
		switch d.t {
		case TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeDisconnect:
			if _, ok := d.find(FieldReason); !ok {
				d.splice(len(d.frame), 0, byte(Success))
			}
			d.splice(len(d.frame), 0, 0)
		default:
			return block{}, false
		}
	}
	return block{}, false
}

// spliceBlock replaces n bytes at an offset among the properties and sets both lengths right.
func (d *draft) spliceBlock(b block, at, n int, with ...byte) {
	start := b.length.Offset + b.length.Len
	props := slices.Concat(d.frame[start:at], with, d.frame[at+n:b.end])
	d.splice(b.length.Offset, b.end-b.length.Offset, append(AppendVarint(nil, uint32(len(props))), props...)...)
}

// addProperty puts raw bytes in front of the properties, and removes the property they begin
// with, if there is one, so that it does not stand twice.
func (d *draft) addProperty(raw ...byte) bool {
	d.removeProperty(PropID(raw[0]))
	b, ok := d.firstBlock()
	if !ok {
		return false
	}
	d.spliceBlock(b, b.length.Offset+b.length.Len, 0, raw...)
	return true
}

func (d *draft) removeProperty(id PropID) {
	for {
		b, ok := d.firstBlock()
		i := slices.IndexFunc(b.props, func(f Field) bool { return f.Prop == id })
		if !ok || i < 0 {
			return
		}
		d.spliceBlock(b, b.props[i].Offset, b.props[i].Len)
	}
}

// hasProperty reports whether the first block holds the property.
func (d *draft) hasProperty(id PropID) bool {
	b, _ := d.firstBlock()
	return slices.ContainsFunc(b.props, func(f Field) bool { return f.Prop == id })
}
