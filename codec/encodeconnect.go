package codec

// wire returns the version that the packet itself asks for, or else the one given.
func (p *Connect) wire(v Version) Version {
	if p.Version != 0 {
		return p.Version
	}
	return known(v)
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Connect) Size(v Version) int {
	n, _ := p.remaining(p.wire(v))
	return packetSize(n)
}

// remaining returns the Remaining Length and the length of the longest field.
func (p *Connect) remaining(v Version) (n, longest int) {
	n = 2 + len(nameMQTT) + 4 + 2 + len(p.ClientID)
	if v == V31 {
		n += len(nameMQIsdp) - len(nameMQTT)
	}
	if v == V5 {
		n += p.Props.size()
	}
	longest = len(p.ClientID)
	if p.HasWill {
		n += 4 + len(p.Will.Topic) + len(p.Will.Payload)
		if v == V5 {
			n += p.Will.Props.size()
		}
		longest = max(longest, len(p.Will.Topic), len(p.Will.Payload))
	}
	if p.HasUsername {
		n += 2 + len(p.Username)
		longest = max(longest, len(p.Username))
	}
	if p.HasPassword {
		n += 2 + len(p.Password)
		longest = max(longest, len(p.Password))
	}
	return n, longest
}

// AppendTo appends the wire form. Will, Username and Password are looked at only where their
// flag is set.
func (p *Connect) AppendTo(dst []byte, v Version) ([]byte, error) {
	v = p.wire(v)
	n, longest := p.remaining(v)
	if longest > MaxStringLen || n > MaxRemainingLength {
		return dst, fits(TypeConnect, v, n, longest)
	}
	flags := flag(p.CleanStart, flagCleanStart) | flag(p.HasUsername, flagUsername) | flag(p.HasPassword, flagPassword)
	if p.HasWill {
		flags |= flagWill | byte(min(p.Will.QoS, 3))<<3 | flag(p.Will.Retain, flagWillRetain)
	}
	out := start(dst, TypeConnect, 0, n)
	if v == V31 {
		out = appendText(out, nameMQIsdp)
	} else {
		out = appendText(out, nameMQTT)
	}
	out = append(out, byte(v), flags, byte(p.KeepAlive>>8), byte(p.KeepAlive))
	if v == V5 {
		out = p.Props.appendTo(out)
	}
	out = appendText(out, p.ClientID)
	if p.HasWill {
		if v == V5 {
			out = p.Will.Props.appendTo(out)
		}
		out = appendText(out, p.Will.Topic)
		out = appendText(out, viewString(p.Will.Payload))
	}
	if p.HasUsername {
		out = appendText(out, p.Username)
	}
	if p.HasPassword {
		out = appendText(out, viewString(p.Password))
	}
	if p.plain(v, flags) {
		return out, nil
	}

	c := judging(out[len(dst):], v)
	c.header()
	var judged Connect
	judged.decode(&c)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Connack) Size(v Version) int { return packetSize(p.remaining(v)) }

func (p *Connack) remaining(v Version) int {
	if v == V5 {
		return 2 + p.Props.size()
	}
	return 2
}

// AppendTo appends the wire form.
func (p *Connack) AppendTo(dst []byte, v Version) ([]byte, error) {
	n := p.remaining(v)
	if n > MaxRemainingLength {
		return dst, fits(TypeConnack, v, n, 0)
	}
	out := start(dst, TypeConnack, 0, n)
	out = append(out, flag(p.SessionPresent && v != V31, 1), byte(p.Reason))
	if v == V5 {
		out = p.Props.appendTo(out)
	}
	c := judging(out[len(dst):], known(v))
	c.header()
	var judged Connack
	judged.decode(&c)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}
