// Package fuzz looks for bugs in live MQTT servers and clients: it sends sequences of packets that are legal but for an
// edit here and there, learns from the answers which of them lead somewhere new, and watches the target by many oracles.
package fuzz
