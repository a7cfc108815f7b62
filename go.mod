module github.com/lowrank/lowrank

go 1.26.8
