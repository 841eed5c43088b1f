package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// snapshot is what a server has used, and counted, at one moment.
type snapshot struct {
	usage    usage
	disk     int64
	counters map[string]float64
}

// look takes a snapshot of the server.
func (s *Server) look(ctx context.Context) (snapshot, error) {
	var shot snapshot
	var err1, err2, err3 error
	shot.usage, err1 = usageOf("/proc", s.target.PIDs)
	shot.disk, err2 = diskUse(s.target.DataDir)
	shot.counters, err3 = s.scrape(ctx)
	return shot, errors.Join(err1, err2, err3)
}

// scrape reads the counters that the target names from its metrics.
func (s *Server) scrape(ctx context.Context) (map[string]float64, error) {
	if s.target.Metrics == "" || len(s.target.Counters) == 0 {
		return nil, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.target.Metrics, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", s.target.Metrics, resp.Status)
	}
	found := parseCounters(buf.Bytes(), s.target.Counters)
	for _, name := range s.target.Counters {
		if _, ok := found[name]; !ok {
			return nil, fmt.Errorf("%s has no counter %s", s.target.Metrics, name)
		}
	}
	return found, nil
}

// parseCounters adds up, for each name, its values under all labels.
func parseCounters(text []byte, names []string) map[string]float64 {
	sums := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := line[:max(0, strings.IndexAny(line, "{ "))]
		if !slices.Contains(names, name) {
			continue
		}
		// Label values may hold anything but the value, and perhaps a time,
		// follow the last brace.
		fields := strings.Fields(line[max(len(name), strings.LastIndexByte(line, '}')+1):])
		if len(fields) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(fields[0], 64); err == nil {
			sums[name] += v
		}
	}
	return sums
}
