module github.com/seqmix/seqmix/tokenizer

go 1.26.0

require (
	golang.org/x/text v0.44.0
	google.golang.org/protobuf v1.36.12
)
