package tensor

// SetConstant marks t as a constant among parameters, or as none: something that
// checkpoints hold and that training does not change, such as a table of positions.
// Gradients of it can be computed, but nobody asks for them by default. It is set while
// nobody else uses t.
func (t *Tensor) SetConstant(constant bool) { t.constant = constant }

// IsConstant reports whether t is marked by [Tensor.SetConstant].
func (t *Tensor) IsConstant() bool { return t.constant }
