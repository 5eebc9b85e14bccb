module github.com/seqmix/seqmix/tokenizer

go 1.26.0

require (
	golang.org/x/text v0.44.0
	google.golang.org/protobuf v1.36.12
)

require github.com/seqmix/seqmix v0.1.0

require (
	github.com/klauspost/cpuid/v2 v2.4.2 // indirect
	golang.org/x/sys v0.49.0 // indirect
	gonum.org/v1/gonum v0.17.0 // indirect
)

