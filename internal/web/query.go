package web

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"entente/internal/fault"
)

// Query is the parsed query string. What cannot be parsed in it is left out.
func (c *Call) Query() url.Values {
	if c.query == nil {
		c.query = c.r.URL.Query()
	}
	return c.query
}

// QueryString is the first value of a query parameter, or empty.
func (c *Call) QueryString(name string) string {
	if c.r.URL.RawQuery == "" {
		return ""
	}
	return c.Query().Get(name)
}

// QueryList is every value of a query parameter that may be repeated.
func (c *Call) QueryList(name string) []string {
	if c.r.URL.RawQuery == "" {
		return nil
	}
	return c.Query()[name]
}

// QueryRequired is a query parameter that must be there.
func (c *Call) QueryRequired(name string) (string, error) {
	value := c.QueryString(name)
	if value == "" {
		return "", fault.New(fault.MissingParam, "Missing query parameter %s", name)
	}
	return value, nil
}

// QueryInt is an integer query parameter: fallback if absent, refused below
// least, and most at the most, since the API lets a server give less than was
// asked for.
func (c *Call) QueryInt(name string, fallback, least, most int64) (int64, error) {
	text := c.QueryString(name)
	if text == "" {
		return fallback, nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fault.New(fault.InvalidParam, "Query parameter %s is not an integer", name)
	}
	if value < least {
		return 0, fault.New(fault.InvalidParam, "Query parameter %s is less than %d", name, least)
	}
	return min(value, most), nil
}

// QueryBool is a boolean query parameter: true or false, or fallback if
// absent.
func (c *Call) QueryBool(name string, fallback bool) (bool, error) {
	switch c.QueryString(name) {
	case "":
		return fallback, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fault.New(fault.InvalidParam, "Query parameter %s is neither true nor false", name)
}

// QueryEnum is a query parameter that takes one of the allowed values, or
// fallback if absent.
func (c *Call) QueryEnum(name, fallback string, allowed ...string) (string, error) {
	value := c.QueryString(name)
	if value == "" {
		return fallback, nil
	}
	if !slices.Contains(allowed, value) {
		return "", fault.New(fault.InvalidParam, "Query parameter %s is not one of %s", name, strings.Join(allowed, ", "))
	}
	return value, nil
}
