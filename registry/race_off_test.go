//go:build !race

package registry

// raceDetector is true under -race.
const raceDetector = false
