package loadgen

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// sampleOptions say what a made-up result is like.
type sampleOptions struct {
	seed    uint64
	seconds int
	rate    float64
	stall   int     // the second in which the server stops for two; 0: never
	slow    float64 // a factor on every latency
	noPID   bool
}

// sampleResult makes up a result that could have been measured: all of its numbers agree with one another.
func sampleResult(o sampleOptions) *Result {
	rnd := rand.New(rand.NewPCG(o.seed, 1))
	if o.slow == 0 {
		o.slow = 1
	}
	r := &Result{
		Format: ResultFormat, Run: "k3f9x2", Title: "Telemetry fan-in", Target: "mqtt://127.0.0.1:1883", Server: "mosquitto version 2.0.11",
		Model: "open", Seed: o.seed, Started: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC), Planned: time.Duration(o.seconds) * time.Second,
		Workload:  "kind: workload\ntitle: Telemetry fan-in\n",
		Generator: Generator{Cores: 2, Workers: 1, MaxRSS: 38 << 20, Clients: 220, LedgerBytes: 1 << 20},
		Broker:    BrokerUse{PID: 4711},
	}
	r.Elapsed = r.Planned + 3*time.Millisecond
	hists := map[string]*hdrhistogram.Histogram{}
	record := func(metric string, qos int, group string, us float64) {
		keys := []string{fmt.Sprint(metric, " ", -1, " "), fmt.Sprint(metric, " ", -1, " ", group)}
		if qos >= 0 {
			keys = append(keys, fmt.Sprint(metric, " ", qos, " "))
		}
		for _, key := range keys {
			h := hists[key]
			if h == nil {
				h = hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)
				hists[key] = h
			}
			_ = h.RecordValue(max(1, int64(us)))
		}
	}
	draw := func(median, spread float64) float64 { return o.slow * median * math.Exp(spread*rnd.NormFloat64()) }
	short := func(h *hdrhistogram.Histogram) Percentiles { return (&Latency{Histogram: h}).percentiles() }

	ledger := [3]LedgerRow{{QoS: 0}, {QoS: 1}, {QoS: 2}}
	phases := []PhaseResult{
		{Name: "ramp", Kind: "ramp", To: r.Planned / 4},
		{Name: "steady", Kind: "hold", From: r.Planned / 4, To: 3 * r.Planned / 4},
		{Name: "rush", Kind: "spike", From: 3 * r.Planned / 4, To: r.Planned},
	}
	for range 220 {
		record(Connect, -1, "sensors", draw(900, .4))
	}
	r.Totals.Connects = 220
	backlog := 0
	for sec := range o.seconds {
		at := time.Duration(sec) * time.Second
		p := 0
		for at >= phases[p].To {
			p++
		}
		factor := 1.0
		switch share := float64(at-phases[p].From) / float64(phases[p].To-phases[p].From); phases[p].Kind {
		case "ramp":
			factor = .2 + .8*share
		case "spike":
			factor = 1 + .6*math.Sin(math.Pi*share)
		}
		s := Second{At: at, Phase: phases[p].Name, Connected: 220, Inflight: 3 + rnd.IntN(9), BrokerCPU: -1, BrokerRSS: -1}
		lag, ack, end := hdrhistogram.New(1, 6e8, 3), hdrhistogram.New(1, 6e8, 3), hdrhistogram.New(1, 6e8, 3)
		stalled := o.stall > 0 && (sec == o.stall || sec == o.stall+1)
		n := int(o.rate * factor)
		s.Counts.Scheduled, s.Counts.BytesOut = uint64(n), uint64(n*96)
		done := n
		if stalled {
			done, s.Inflight, backlog = n/50, n, backlog+n-n/50
			if sec == o.stall+1 {
				s.Connected, s.Errors = 214, 6
				s.Counts.Disconnects = 6
			}
		} else if backlog > 0 {
			done, backlog = n+backlog, 0
		}
		s.Backlog = backlog
		s.Counts.Published, s.Counts.Acknowledged, s.Counts.Received = uint64(done), uint64(done*3/4), uint64(done)
		s.Counts.BytesIn = uint64(done * 98)
		for i := range n {
			qos, group := i%4, "sensors"
			if qos == 3 {
				qos = 1
			}
			if i%10 == 9 {
				group = "gateways"
			}
			wait := 0.0
			if stalled { // what falls due in the stall waits until its end
				wait = 1e6 * (float64(o.stall+2-sec) - float64(i)/float64(n))
			}
			l, a, e := draw(35, .5), draw(180, .35)+wait, draw(210, .4)+wait
			record(ScheduleLag, qos, group, l)
			record(EndToEnd, qos, group, e)
			_, _, _ = lag.RecordValue(max(1, int64(l))), ack, end.RecordValue(max(1, int64(e)))
			if qos > 0 {
				record(PublishAck, qos, group, a)
				record(PublishService, qos, group, a-min(l, 30))
				_ = ack.RecordValue(max(1, int64(a)))
			}
			ledger[qos].Expected++
			ledger[qos].Delivered++
		}
		s.Lag, s.Ack, s.EndToEnd = short(lag), short(ack), short(end)
		s.GeneratorCPU = .12 + float64(done)/40000 + .02*rnd.Float64()
		if !o.noPID {
			s.BrokerCPU, s.BrokerRSS = .1+float64(done)/30000+.03*rnd.Float64(), int64(9+sec/8)<<20
			if stalled {
				s.BrokerCPU = 0
			}
			r.Broker.CPUSeconds, r.Broker.MaxRSS = r.Broker.CPUSeconds+s.BrokerCPU, s.BrokerRSS
		}
		if sec%10 == 0 {
			s.Sys = map[string]float64{"broker/clients/connected": 221, "broker/messages/received": float64(1000 * sec)}
		}
		r.Generator.CPUSeconds += s.GeneratorCPU
		add(&r.Totals, &s.Counts)
		add(&phases[p].Counts, &s.Counts)
		r.Series = append(r.Series, s)
	}
	r.Broker.CPUSeconds = math.Round(r.Broker.CPUSeconds*1000) / 1000
	if o.noPID {
		r.Broker = BrokerUse{}
	}
	for _, qos := range []int{-1, 0, 1, 2} {
		for _, metric := range []string{Connect, ScheduleLag, PublishService, PublishAck, EndToEnd} {
			if h := hists[fmt.Sprint(metric, " ", qos, " ")]; h != nil {
				r.Latency = append(r.Latency, Latency{Metric: metric, QoS: qos, Histogram: h})
			}
		}
	}
	for _, group := range []string{"sensors", "gateways"} {
		for _, metric := range []string{Connect, ScheduleLag, PublishAck, EndToEnd} {
			if h := hists[fmt.Sprint(metric, " ", -1, " ", group)]; h != nil {
				r.Latency = append(r.Latency, Latency{Metric: metric, QoS: -1, Group: group, Histogram: h})
			}
		}
	}
	for i := range phases {
		phases[i].Latency = []Latency{{Metric: PublishAck, QoS: -1, Histogram: hists[PublishAck+" -1 "]}, {Metric: EndToEnd, QoS: -1, Histogram: hists[EndToEnd+" -1 "]}}
	}
	r.Phases = phases
	sensors, gateways := r.Totals, Counts{}
	sensors.Scheduled, gateways.Scheduled = r.Totals.Scheduled*9/10, r.Totals.Scheduled/10
	sensors.Published, gateways.Published = r.Totals.Published*9/10, r.Totals.Published/10
	sensors.Acknowledged, gateways.Acknowledged = r.Totals.Acknowledged*9/10, r.Totals.Acknowledged/10
	sensors.Received, gateways.Received = 0, r.Totals.Received
	r.Groups = []GroupResult{{Name: "sensors", Clients: 200, Counts: sensors}, {Name: "gateways", Clients: 20, Counts: gateways}}
	r.Ledger = ledger[:]
	if o.stall > 0 {
		r.Errors = []ErrorCount{{Kind: "socket", Reason: "connection reset by peer", Code: -1, Count: 6, Advice: "the server closed connections: its log says why"}}
		r.Ledger[0].Lost, r.Ledger[0].Unsettled = 12, 3
		r.Ledger[0].Delivered -= 15
		r.Ledger[1].Duplicated, r.Totals.Resent = 4, 4
	}
	r.Thresholds = []ThresholdResult{
		{Text: "publish_ack.p99 < 50ms", Passed: o.stall == 0, Value: .0005, Why: "publish_ack.p99 is 512 µs"},
		{Text: "lost{qos=1} == 0", Passed: true, Why: "lost{qos=1} is 0"},
	}
	if o.stall > 0 {
		r.Thresholds[0].Value, r.Thresholds[0].Why = 1.86, "publish_ack.p99 is 1.86 s, which is not below 50 ms"
	}
	return r
}

func add(sum, c *Counts) {
	sum.Scheduled += c.Scheduled
	sum.Published += c.Published
	sum.Resent += c.Resent
	sum.Acknowledged += c.Acknowledged
	sum.Received += c.Received
	sum.Connects += c.Connects
	sum.Disconnects += c.Disconnects
	sum.BytesOut += c.BytesOut
	sum.BytesIn += c.BytesIn
}

// sampleSnapshots are the live views of a run that ended as the result says.
func sampleSnapshots(r *Result) []*Snapshot {
	var out []*Snapshot
	var totals Counts
	for i := range r.Series {
		s := &r.Series[i]
		add(&totals, &s.Counts)
		snap := &Snapshot{
			Second: *s, Title: r.Title, Target: r.Target, Elapsed: s.At + time.Second, Planned: r.Planned, Clients: r.Generator.Clients,
			Offered: float64(s.Counts.Scheduled), Totals: totals, TotalLag: s.Lag, TotalAck: s.Ack, TotalEnd: s.EndToEnd,
		}
		if s.Errors > 0 {
			snap.TopErrors = r.Errors
			snap.Duplicated = 4
		}
		out = append(out, snap)
	}
	return out
}
