package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// The same main job with matrix-js-sdk, on which most clients of the field are
// built.
func TestJavaScriptSDK(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node")
	}
	if _, err := os.Stat("jssdk/node_modules/matrix-js-sdk"); err != nil {
		t.Skip("matrix-js-sdk is not installed: make js")
	}
	onBothDatabases(t, func(t *testing.T, north, south *agency) {
		cmd := exec.CommandContext(t.Context(), node, "talk.mjs", north.Judged, south.Judged)
		cmd.Dir = "jssdk"
		out, err := cmd.CombinedOutput()
		t.Logf("node talk.mjs:\n%s", out)
		if err != nil {
			t.Fatal(err)
		}
	})
}
