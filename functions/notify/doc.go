// Package notify tells the world what happened to jobs: webhooks to the address that the client named,
// lowrank.output.created on the bus.
//
// The change feed of the records only sends messages (Feed); the deliveries are made from a queue
// (Deliver), so that a slow receiver holds up no one else. How far a job's webhooks are stands in a
// document of its own, held by one deliverer at a time: events of one job go out in order, the
// terminal one last. Ids of deliveries follow from what they tell, so a retry has the same one.
//
// Bodies are built from the record as it is when they are sent, cut back to the moment that they tell
// of: a late "start" still says processing, and the terminal one is what GET answers.
package notify
