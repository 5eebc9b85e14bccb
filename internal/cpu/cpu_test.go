package cpu

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestUse(t *testing.T) {
	old := Active()
	defer Use(old)
	for _, tier := range Available() {
		if err := Use(tier); err != nil {
			t.Fatalf("Use(%q): %v", tier, err)
		}
		if Active() != tier {
			t.Errorf("Active() = %q after Use(%q)", Active(), tier)
		}
		if AVX512 != (tier == TierAVX512) || AVX2 != (tier == TierAVX2) || NEON != (tier == TierNEON) {
			t.Errorf("after Use(%q): AVX512=%v AVX2=%v NEON=%v", tier, AVX512, AVX2, NEON)
		}
	}
}

func TestUseRejects(t *testing.T) {
	old := Active()
	bad := []Tier{"sse9", ""}
	for _, tier := range []Tier{TierAVX512, TierAVX2, TierNEON} {
		if !slices.Contains(Available(), tier) {
			bad = append(bad, tier)
		}
	}
	for _, tier := range bad {
		err := Use(tier)
		if err == nil {
			t.Fatalf("Use(%q) succeeded", tier)
		}
		for _, choice := range Available() {
			if !strings.Contains(err.Error(), string(choice)) {
				t.Errorf("Use(%q): error %q does not name the choice %q", tier, err, choice)
			}
		}
	}
	if Active() != old {
		t.Errorf("a rejected tier changed the one in use from %q to %q", old, Active())
	}
}

// TestEnv proves that a tier asked for by the environment is the one that runs:
// a lane of CI that names a tier must not pass on another one.
func TestEnv(t *testing.T) {
	if want := os.Getenv(Env); want != "" && string(Active()) != want {
		t.Fatalf("%s=%s, but tier %q is in use", Env, want, Active())
	}
}

func TestEnvUnknown(t *testing.T) {
	if os.Getenv("SEQMIX_CPU_CHILD") != "" {
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestEnvUnknown$")
	cmd.Env = append(os.Environ(), Env+"=mmx", "SEQMIX_CPU_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("a process with %s=mmx started: %s", Env, out)
	}
	if exit := new(exec.ExitError); !errors.As(err, &exit) {
		t.Skip(err) // an emulated test cannot start itself
	}
	if !strings.Contains(string(out), `unknown tier "mmx"`) || !strings.Contains(string(out), "generic") {
		t.Errorf("%s=mmx: unhelpful message %q", Env, out)
	}
}
