package lru_test

import (
	"testing"

	"entente/internal/lru"
)

func TestCacheDropsTheLeastRecentlyUsed(t *testing.T) {
	c := lru.New[string](10, func(n int) int { return n })
	c.Put("a", 4)
	c.Put("b", 4)
	c.Get("a")
	c.Put("c", 4)
	if _, ok := c.Get("b"); ok {
		t.Error("b was used longest ago and is still kept")
	}
	if _, ok := c.Get("a"); !ok || c.Spent() != 8 {
		t.Errorf("a is gone, or %d is spent", c.Spent())
	}
	c.Put("a", 1)
	c.Remove("c")
	if c.Spent() != 1 {
		t.Errorf("%d is spent after replacing and removing", c.Spent())
	}
}

func TestCacheKeepsTheLastValueHoweverLarge(t *testing.T) {
	c := lru.New[int](10, func(n int) int { return n })
	c.Put(1, 100)
	if _, ok := c.Get(1); !ok {
		t.Error("a value over the budget is gone at once")
	}
	c.Put(2, 1)
	if _, ok := c.Get(1); ok || c.Spent() != 1 {
		t.Error("the large value was not dropped for the next")
	}
}
