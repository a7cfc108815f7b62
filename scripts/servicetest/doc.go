// Package servicetest tests the service from outside, whole: the real program as
// processes that are killed, stopped and starved (their tests need the feature
// word "service" in LOWRANK_REQUIRE, but for a few quick ones), and all of its
// parts in one process while every port fails and runners die (Chaos).
//
//	LOWRANK_REQUIRE=service go test ./scripts/servicetest
//	LOWRANK_STORM=1000 go test -run Chaos ./scripts/servicetest
//
// It is tests alone: nothing imports it.
package servicetest
