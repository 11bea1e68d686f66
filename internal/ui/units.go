package ui

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes writes a size in binary units with three digits: 512 B, 1.50 KiB, 12.3 MiB.
func Bytes(n int64) string {
	if n > -1024 && n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n)
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	// 1023.5 would print as 1024 of the smaller unit.
	for math.Abs(v) >= 1023.5 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return digits3(v) + " " + units[i]
}

// Count writes a whole number with its thousands apart: 1,234,567.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	b.WriteString(sign)
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Rate writes a number per second with three digits: 950/s, 12.3k/s, 1.20M/s.
func Rate(perSecond float64) string {
	if math.IsNaN(perSecond) || math.IsInf(perSecond, 0) {
		return "-"
	}
	v := perSecond
	units := []string{"", "k", "M", "G", "T"}
	i := 0
	for math.Abs(v) >= 999.5 && i < len(units)-1 {
		v /= 1000
		i++
	}
	if i == 0 && v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64) + "/s"
	}
	return digits3(v) + units[i] + "/s"
}

// Duration writes a time with three digits in the unit that suits it: 850 ns, 1.23 ms, 12.3 s,
// and from a minute on as 2m05s or 1h02m.
func Duration(d time.Duration) string {
	if d < 0 {
		if d == math.MinInt64 {
			d++
		}
		return "-" + Duration(-d)
	}
	switch {
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + " ns"
	case d < 999500*time.Nanosecond:
		return digits3(float64(d)/float64(time.Microsecond)) + " µs"
	case d < 999500*time.Microsecond:
		return digits3(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 59950*time.Millisecond:
		return digits3(d.Seconds()) + " s"
	}
	s := int64(d.Round(time.Second) / time.Second)
	if s < 3600 {
		return strconv.FormatInt(s/60, 10) + "m" + two(s%60) + "s"
	}
	m := int64(d.Round(time.Minute) / time.Minute)
	return strconv.FormatInt(m/60, 10) + "h" + two(m%60) + "m"
}

func two(n int64) string {
	if n < 10 {
		return "0" + strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10)
}

// digits3 keeps three digits, so that columns of mixed sizes stay readable.
func digits3(v float64) string {
	switch a := math.Abs(v); {
	case a < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
}
