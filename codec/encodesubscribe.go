package codec

// Size returns the exact number of bytes AppendTo would append.
func (p *Subscribe) Size(v Version) int {
	n, _ := p.remaining(v)
	return packetSize(n)
}

func (p *Subscribe) remaining(v Version) (n, longest int) {
	n = 2
	if v == V5 {
		n += p.Props.size()
	}
	for i := range p.Filters {
		k := len(p.Filters[i].Filter)
		n += 3 + k
		longest = max(longest, k)
	}
	return n, longest
}

// AppendTo appends the wire form.
func (p *Subscribe) AppendTo(dst []byte, v Version) ([]byte, error) {
	n, longest := p.remaining(v)
	if longest > MaxStringLen || n > MaxRemainingLength {
		return dst, fits(TypeSubscribe, v, n, longest)
	}
	out := start(dst, TypeSubscribe, requiredFlags[TypeSubscribe], n)
	out = appendU16(out, p.PacketID)
	if v == V5 {
		out = p.Props.appendTo(out)
	}
	for i := range p.Filters {
		s := &p.Filters[i]
		o := byte(min(s.QoS, 3))
		if v == V5 {
			o |= flag(s.NoLocal, optionNoLocal) | flag(s.RetainAsPublished, optionRetainAsPublished) | min(s.RetainHandling, 3)<<4
		}
		out = append(appendText(out, s.Filter), o)
	}
	if p.plain(v) {
		return out, nil
	}
	c := judging(out[len(dst):], known(v))
	c.header()
	var judged Subscribe
	judged.decode(&c)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Suback) Size(v Version) int { return packetSize(p.remaining(v)) }

func (p *Suback) remaining(v Version) int {
	n := 2 + len(p.Reasons)
	if v == V5 {
		n += p.Props.size()
	}
	return n
}

// AppendTo appends the wire form.
func (p *Suback) AppendTo(dst []byte, v Version) ([]byte, error) {
	n := p.remaining(v)
	if n > MaxRemainingLength {
		return dst, fits(TypeSuback, v, n, 0)
	}
	out := appendU16(start(dst, TypeSuback, 0, n), p.PacketID)
	if v == V5 {
		out = p.Props.appendTo(out)
	}
	out = appendCodes(out, p.Reasons)
	c := judging(out[len(dst):], known(v))
	c.header()
	var judged Suback
	judged.decode(&c)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Unsubscribe) Size(v Version) int {
	n, _ := p.remaining(v)
	return packetSize(n)
}

func (p *Unsubscribe) remaining(v Version) (n, longest int) {
	n = 2
	if v == V5 {
		n += p.Props.size()
	}
	for _, s := range p.Filters {
		n += 2 + len(s)
		longest = max(longest, len(s))
	}
	return n, longest
}

// AppendTo appends the wire form.
func (p *Unsubscribe) AppendTo(dst []byte, v Version) ([]byte, error) {
	n, longest := p.remaining(v)
	if longest > MaxStringLen || n > MaxRemainingLength {
		return dst, fits(TypeUnsubscribe, v, n, longest)
	}
	out := appendU16(start(dst, TypeUnsubscribe, requiredFlags[TypeUnsubscribe], n), p.PacketID)
	if v == V5 {
		out = p.Props.appendTo(out)
	}
	for _, s := range p.Filters {
		out = appendText(out, s)
	}
	c := judging(out[len(dst):], known(v))
	c.header()
	var judged Unsubscribe
	judged.decode(&c)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Unsuback) Size(v Version) int { return packetSize(p.remaining(v)) }

func (p *Unsuback) remaining(v Version) int {
	if v == V5 {
		return 2 + p.Props.size() + len(p.Reasons)
	}
	return 2
}

// AppendTo appends the wire form. Before 5.0 UNSUBACK has no Reason Codes.
func (p *Unsuback) AppendTo(dst []byte, v Version) ([]byte, error) {
	n := p.remaining(v)
	if n > MaxRemainingLength {
		return dst, fits(TypeUnsuback, v, n, 0)
	}
	out := appendU16(start(dst, TypeUnsuback, 0, n), p.PacketID)
	if v == V5 {
		out = appendCodes(p.Props.appendTo(out), p.Reasons)
	}
	c := judging(out[len(dst):], known(v))
	c.header()
	var judged Unsuback
	judged.decode(&c)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}

func appendCodes(dst []byte, codes []ReasonCode) []byte {
	for _, r := range codes {
		dst = append(dst, byte(r))
	}
	return dst
}
