package kernel

// Interim: portable stand-ins so that the packages above compile. The owner of a
// group deletes its functions here when the group lands.

func Add(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}
