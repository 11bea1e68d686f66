package fuzz

import (
	cli "flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

var update = cli.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(playTarget(role))
	}
	goleak.VerifyTestMain(m)
}
