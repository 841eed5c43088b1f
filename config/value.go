package config

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time as people write it: 30s, 5m, 12h, 7d, 2w, or
// several in a row as in 1h30m.
type Duration time.Duration

// Std is the standard library's duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// UnmarshalText parses a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if s == "0" {
		*d = 0
		return nil
	}
	var total time.Duration
	rest := s
	for _, unit := range []struct {
		suffix string
		length time.Duration
	}{{"w", week}, {"d", day}} {
		number, after, found := strings.Cut(rest, unit.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 16)
		if err != nil {
			return fmt.Errorf("%q is not a duration", s)
		}
		total += time.Duration(n) * unit.length
		rest = strings.TrimSpace(after)
	}
	if rest != "" {
		part, err := time.ParseDuration(strings.ReplaceAll(rest, " ", ""))
		if err != nil || part < 0 || part > math.MaxInt64-total {
			return fmt.Errorf("%q is not a duration", s)
		}
		total += part
	} else if s == "" {
		return fmt.Errorf("an empty text is not a duration")
	}
	*d = Duration(total)
	return nil
}

// String is the duration as people write it.
func (d Duration) String() string {
	std := time.Duration(d)
	switch {
	case std == 0:
		return "0"
	case std%day == 0:
		return strconv.FormatInt(int64(std/day), 10) + "d"
	case std%time.Hour == 0:
		return strconv.FormatInt(int64(std/time.Hour), 10) + "h"
	case std%time.Minute == 0:
		return strconv.FormatInt(int64(std/time.Minute), 10) + "m"
	}
	return std.String()
}

// Size is a number of bytes as people write it: 512, 64 KiB, 1.5 MiB, 20 MB.
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// UnmarshalText parses a size.
func (z *Size) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	number, factor := s, 1.0
	for _, unit := range sizeUnits {
		if before, found := strings.CutSuffix(s, unit.suffix); found {
			number, factor = strings.TrimSpace(before), unit.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0) || n*factor >= math.MaxInt64 {
		return fmt.Errorf("%q is not a size", s)
	}
	*z = Size(n * factor)
	return nil
}

// String is the size in the largest unit that divides it.
func (z Size) String() string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	n, unit := int64(z), 0
	for n != 0 && n%1024 == 0 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + " " + units[unit]
}

// Secret is a text that no log and no error may show.
type Secret string

// hidden is what a secret looks like.
const hidden = "(secret)"

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
