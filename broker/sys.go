package broker

import (
	"strconv"

	"github.com/mqlab/mqlab/codec"
)

// startSys publishes the statistics every SysInterval.
func (b *Broker) startSys() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.sysTimer = b.after(b.cfg.SysInterval, func() {
		b.publishSys()
		b.startSys()
	})
}

// publishSys publishes one round of statistics as retained messages. Filters that begin with
// a wildcard do not match them [MQTT-4.7.2-1].
func (b *Broker) publishSys() {
	st := b.Stats()
	b.own(func(sc *scratch) {
		put := func(name, value string) {
			sc.msg.set(&body{topic: "$SYS/broker/" + name, payload: []byte(value), retain: !b.cfg.RetainUnavailable}, sc.now)
			b.route(sc, &sc.msg)
		}
		num := func(name string, v uint64) { put(name, strconv.FormatUint(v, 10)) }
		put("version", "mqlab")
		put("uptime", strconv.Itoa(int(b.clock.Now().Sub(b.start).Seconds()))+" seconds")
		put("protocols", codec.V31.String()+" "+codec.V4.String()+" "+codec.V5.String())
		num("clients/connected", uint64(st.Connections))
		num("clients/total", uint64(st.Sessions))
		num("clients/accepted", st.Connects)
		num("clients/slow", st.SlowConsumers)
		num("clients/protocol errors", st.ProtocolErrors)
		num("subscriptions/count", uint64(st.Subscriptions))
		num("retained messages/count", uint64(st.Retained))
		num("retained messages/bytes", uint64(st.RetainedBytes))
		num("packets/received", st.PacketsReceived)
		num("packets/sent", st.PacketsSent)
		num("bytes/received", st.BytesReceived)
		num("bytes/sent", st.BytesSent)
		num("messages/received", st.MessagesReceived)
		num("messages/sent", st.MessagesSent)
		num("messages/dropped", st.DroppedQoS0)
		num("messages/refused", st.Refused)
		num("messages/expired", st.Expired)
		num("messages/too large", st.TooLarge)
		num("requests/denied", st.Denied)
	})
}
