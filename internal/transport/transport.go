// Package transport opens and accepts the connections that MQTT travels on, by URL: TCP (mqtt, tcp), TLS
// (mqtts, tls), WebSocket (ws, wss), Unix sockets (unix) and in-memory pipes (mem).
//
// Start from Dialer and Listen. What they return carries MQTT as a byte stream: WebSocket framing, its
// subprotocol, pings and the closing handshake are dealt with here. Where a test wants to see frames it
// uses Dialer.DialWS, or asserts an accepted connection to *WSConn. Network connects both sides of a
// process without sockets, also in testing/synctest bubbles.
//
// Connections may be read, written and closed concurrently, a deadline loses no bytes (except on TLS,
// where a write that timed out is final), and an idle one holds no buffer of this package's; Readable
// lets the caller do without one too.
//
// MQTT itself, credentials, reconnecting and proxies are not done here.
package transport
