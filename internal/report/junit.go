package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// JUnit is a result in the XML that continuous integration systems read. Counts are made by Write.
type JUnit struct {
	Name    string
	Started time.Time
	Elapsed time.Duration
	Suites  []JUnitSuite
}

// JUnitSuite is a group of cases.
type JUnitSuite struct {
	Name    string
	Elapsed time.Duration
	Cases   []JUnitCase
}

// Outcome is how a case or a test point ended.
type Outcome uint8

// The outcomes. Errored is a defect of the test, not of what it tests.
const (
	Passed Outcome = iota
	Skipped
	Failed
	Errored
)

// JUnitCase is one result. Class groups cases in many viewers, by the words between its dots.
type JUnitCase struct {
	Class, Name string
	Elapsed     time.Duration
	Outcome     Outcome
	Kind        string // of the failure or error
	Message     string // one line: why it failed or was skipped
	Detail      string // the body of the failure or error
	Output      string // what was seen, in any outcome
}

type xmlSuites struct {
	XMLName   xml.Name   `xml:"testsuites"`
	Name      string     `xml:"name,attr"`
	Tests     int        `xml:"tests,attr"`
	Failures  int        `xml:"failures,attr"`
	Errors    int        `xml:"errors,attr"`
	Skipped   int        `xml:"skipped,attr"`
	Time      string     `xml:"time,attr"`
	Timestamp string     `xml:"timestamp,attr,omitempty"`
	Suites    []xmlSuite `xml:"testsuite"`
}

type xmlSuite struct {
	Name      string    `xml:"name,attr"`
	Tests     int       `xml:"tests,attr"`
	Failures  int       `xml:"failures,attr"`
	Errors    int       `xml:"errors,attr"`
	Skipped   int       `xml:"skipped,attr"`
	Time      string    `xml:"time,attr"`
	Timestamp string    `xml:"timestamp,attr,omitempty"`
	Cases     []xmlCase `xml:"testcase"`
}

type xmlCase struct {
	Class   string      `xml:"classname,attr"`
	Name    string      `xml:"name,attr"`
	Time    string      `xml:"time,attr"`
	Skipped *xmlOutcome `xml:"skipped"`
	Failure *xmlOutcome `xml:"failure"`
	Error   *xmlOutcome `xml:"error"`
	Output  *xmlText    `xml:"system-out"`
}

type xmlText struct {
	Text string `xml:",cdata"`
}

type xmlOutcome struct {
	Kind    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Detail  string `xml:",cdata"`
}

// Write writes the document. Characters that XML cannot hold come out as visible escapes.
func (j JUnit) Write(w io.Writer) error {
	doc := xmlSuites{Name: Visible(j.Name, false), Time: seconds(j.Elapsed), Timestamp: timestamp(j.Started)}
	for _, s := range j.Suites {
		suite := xmlSuite{Name: Visible(s.Name, false), Tests: len(s.Cases), Time: seconds(s.Elapsed), Timestamp: doc.Timestamp}
		for _, c := range s.Cases {
			x := xmlCase{Class: Visible(c.Class, false), Name: Visible(c.Name, false), Time: seconds(c.Elapsed)}
			if c.Output != "" {
				x.Output = &xmlText{Visible(c.Output, true)}
			}
			o := &xmlOutcome{Kind: Visible(c.Kind, false), Message: Visible(c.Message, false), Detail: Visible(c.Detail, true)}
			switch c.Outcome {
			case Skipped:
				x.Skipped = &xmlOutcome{Message: o.Message}
				suite.Skipped++
			case Failed:
				x.Failure = o
				suite.Failures++
			case Errored:
				x.Error = o
				suite.Errors++
			}
			suite.Cases = append(suite.Cases, x)
		}
		doc.Tests += suite.Tests
		doc.Failures += suite.Failures
		doc.Errors += suite.Errors
		doc.Skipped += suite.Skipped
		doc.Suites = append(doc.Suites, suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05")
}
