//go:build !linux

package loadgen

import "errors"

func raiseDescriptors() int { return 0 }

func localPorts() int { return 0 }

func ownUse() (cpu float64, rss int64) { return 0, 0 }

func processUse(int) (cpu float64, rss int64, err error) {
	return 0, 0, errors.New("the use of another process can be read on Linux alone")
}
