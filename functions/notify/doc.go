// Package notify tells the world what happened to jobs: webhooks to the address that the client named,
// lowrank.output.created on the bus.
//
// The change feed of the records only sends messages (Feed); the deliveries are made from a queue
// (Handle). How far a job's webhooks are stands in a document of its own, held by one deliverer at a
// time: events of one job go out in order, the terminal one last. Ids of deliveries follow from what
// they tell, so a retry has the same one.
//
// Bodies are built from the record as it is when they are sent, cut back to the moment that they tell
// of: a late "start" still says processing, and the terminal one is what GET answers.
//
// # Slow receivers
//
// Run makes many deliveries at once, and few of them for one owner, fewer still at one of the owner's hosts,
// least where the last answer did not come in time (places). So an owner's receivers, however slow, hold up
// no other owner's, not even at the same host, unless those of 16 owners are slow at once. They do hold up each
// other: events of one owner beyond the owner's places wait for one, first come, first served, and so may a
// retry whose time has come.
//
// What waits is in memory, where it costs no deliverer and goes on as soon as a place is free, and is a delayed
// message too: after a crash it comes back by that. Announcements wait as messages alone: nothing notes that one
// was published, and by both it would be twice.
//
// A Lambda handles one message at a time and knows of no other, so on AWS places bound nothing and the 20 that
// template.yaml lets run are anybody's. There a job of a slow receiver goes back to the queue's end after one
// event: others wait for the events, of 5 s at most, that were due before theirs, 20 at once.
package notify
