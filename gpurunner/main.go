// Command gpurunner runs the jobs of a deployment on AWS: what the image of
// infra/Dockerfile starts.
package main

import "github.com/lowrank/lowrank/gpurunner/container"

func main() { container.Main() }
