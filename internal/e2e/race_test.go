//go:build race

package e2e

// raceDetector says whether the servers are built with it, as the tests are.
const raceDetector = true
