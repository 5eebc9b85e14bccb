package ssm_test

import (
	"slices"
	"testing"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/ssm"
	"github.com/seqmix/seqmix/tensor"
)

func randomTensor(seed uint64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	randomize(newRand(seed), t.Data(), 1)
	return t
}

func cloneTensor(t *tensor.Tensor) *tensor.Tensor {
	return tensor.FromFloat32s(slices.Clone(t.Data()), t.Shape()...)
}

// negative makes all elements negative, as rates are that decay.
func negative(t *tensor.Tensor) *tensor.Tensor {
	for i, v := range t.Data() {
		t.Data()[i] = -max(v, -v) - 0.1
	}
	return t
}

// cutAt returns two parts of a sequence.
func cutAt(s tensor.Seq, t int) [2]tensor.Seq { return [2]tensor.Seq{s.Slice(0, t), s.Slice(t, s.Len)} }

// The gradient of a sequence is that of its two parts, the later first, with the
// gradient of the state handed over: truncated backpropagation loses nothing if it is
// not truncated.
func TestSelectiveScanGradInParts(t *testing.T) {
	const batch, length, e, n, cut = 2, 83, 37, 5, 41
	r := newRand(1)
	src, ddst := randomSeq(r, batch, length, e), randomSeq(r, batch, length, e)
	s := ssm.Scan{
		A: negative(randomTensor(2, e, n)), Delta: randomSeq(r, batch, length, e), DeltaBias: randomTensor(3, e), Softplus: true,
		B: randomSeq(r, batch, length, n), C: randomSeq(r, batch, length, n), D: randomTensor(4, e), Z: randomSeq(r, batch, length, e),
		State: randomTensor(5, batch, e, n),
	}
	last := randomTensor(6, batch, e, n)
	grads := func() (tensor.Seq, ssm.ScanGrads) {
		return like(src), ssm.ScanGrads{
			A: tensor.New(e, n), DeltaBias: tensor.New(e), D: tensor.New(e),
			Delta: like(s.Delta), B: like(s.B), C: like(s.C), Z: like(s.Z), State: cloneTensor(last),
		}
	}
	want, wantGrads := grads()
	ssm.SelectiveScanGrad(want, ddst, src, s, wantGrads)

	got, g := grads()
	states := [2]*tensor.Tensor{cloneTensor(s.State), cloneTensor(s.State)}
	part := func(i int) ssm.Scan {
		p := s
		p.Delta, p.B, p.C, p.Z, p.State = cutAt(s.Delta, cut)[i], cutAt(s.B, cut)[i], cutAt(s.C, cut)[i], cutAt(s.Z, cut)[i], states[i]
		return p
	}
	before := part(0)
	before.State = states[1]
	ssm.SelectiveScan(tensor.NewSeq(batch, cut, e), src.Slice(0, cut), before)
	for _, i := range []int{1, 0} {
		p := g
		p.Delta, p.B, p.C, p.Z = cutAt(g.Delta, cut)[i], cutAt(g.B, cut)[i], cutAt(g.C, cut)[i], cutAt(g.Z, cut)[i]
		ssm.SelectiveScanGrad(cutAt(got, cut)[i], cutAt(ddst, cut)[i], cutAt(src, cut)[i], part(i), p)
	}
	for name, pair := range map[string][2][]float32{
		"src": {got.Data, want.Data}, "Delta": {g.Delta.Data, wantGrads.Delta.Data}, "B": {g.B.Data, wantGrads.B.Data},
		"C": {g.C.Data, wantGrads.C.Data}, "Z": {g.Z.Data, wantGrads.Z.Data}, "A": {g.A.Data(), wantGrads.A.Data()},
		"DeltaBias": {g.DeltaBias.Data(), wantGrads.DeltaBias.Data()}, "D": {g.D.Data(), wantGrads.D.Data()},
		"State": {g.State.Data(), wantGrads.State.Data()},
	} {
		wantClose(t, name, pair[0], pair[1], 1e-5)
	}
}

func TestStateSpaceDualGradInParts(t *testing.T) {
	const batch, length, heads, p, groups, n, cut = 2, 150, 6, 5, 2, 7, 47
	r := newRand(1)
	src, ddst := randomSeq(r, batch, length, heads*p), randomSeq(r, batch, length, heads*p)
	s := ssm.SSD{
		A: negative(randomTensor(2, heads)), Delta: randomSeq(r, batch, length, heads), DeltaBias: randomTensor(3, heads), Softplus: true,
		Limit: ssm.Limit{Min: 0.2, Max: 1.5}, Groups: groups,
		B: randomSeq(r, batch, length, groups*n), C: randomSeq(r, batch, length, groups*n), D: randomTensor(4, heads, p),
		Z: randomSeq(r, batch, length, heads*p), State: randomTensor(5, batch, heads, p, n),
	}
	last := randomTensor(6, batch, heads, p, n)
	grads := func() (tensor.Seq, ssm.SSDGrads) {
		return like(src), ssm.SSDGrads{
			A: tensor.New(heads), DeltaBias: tensor.New(heads), D: tensor.New(heads, p),
			Delta: like(s.Delta), B: like(s.B), C: like(s.C), Z: like(s.Z), State: cloneTensor(last),
		}
	}
	want, wantGrads := grads()
	ssm.StateSpaceDualGrad(want, ddst, src, s, wantGrads)

	got, g := grads()
	states := [2]*tensor.Tensor{cloneTensor(s.State), cloneTensor(s.State)}
	part := func(i int) ssm.SSD {
		p := s
		p.Delta, p.B, p.C, p.Z, p.State = cutAt(s.Delta, cut)[i], cutAt(s.B, cut)[i], cutAt(s.C, cut)[i], cutAt(s.Z, cut)[i], states[i]
		return p
	}
	before := part(0)
	before.State = states[1]
	ssm.StateSpaceDual(tensor.NewSeq(batch, cut, heads*p), src.Slice(0, cut), before)
	for _, i := range []int{1, 0} {
		p := g
		p.Delta, p.B, p.C, p.Z = cutAt(g.Delta, cut)[i], cutAt(g.B, cut)[i], cutAt(g.C, cut)[i], cutAt(g.Z, cut)[i]
		ssm.StateSpaceDualGrad(cutAt(got, cut)[i], cutAt(ddst, cut)[i], cutAt(src, cut)[i], part(i), p)
	}
	for name, pair := range map[string][2][]float32{
		"src": {got.Data, want.Data}, "Delta": {g.Delta.Data, wantGrads.Delta.Data}, "B": {g.B.Data, wantGrads.B.Data},
		"C": {g.C.Data, wantGrads.C.Data}, "Z": {g.Z.Data, wantGrads.Z.Data}, "A": {g.A.Data(), wantGrads.A.Data()},
		"DeltaBias": {g.DeltaBias.Data(), wantGrads.DeltaBias.Data()}, "D": {g.D.Data(), wantGrads.D.Data()},
		"State": {g.State.Data(), wantGrads.State.Data()},
	} {
		wantClose(t, name, pair[0], pair[1], 1e-5)
	}
}

func TestTrapezoidalScanGradInParts(t *testing.T) {
	const batch, length, heads, p, n, turning, cut = 2, 150, 4, 5, 8, 3, 47
	r := newRand(1)
	src, ddst := randomSeq(r, batch, length, heads*p), randomSeq(r, batch, length, heads*p)
	wide := func(dim int) tensor.Seq { return randomSeq(r, batch, length, dim) }
	s := ssm.Trapezoid{
		LogDecay: wide(heads), Delta: wide(heads), Trap: wide(heads), Groups: 2, B: wide(2 * n), C: wide(2 * n),
		BBias: randomTensor(2, heads, n), CBias: randomTensor(3, heads, n), Angles: wide(heads * turning), D: randomTensor(4, heads), Z: wide(heads * p),
	}
	for i, v := range s.LogDecay.Data {
		s.LogDecay.Data[i] = -max(v, -v)
	}
	for i, v := range s.Delta.Data {
		s.Delta.Data[i] = max(v, -v)
	}
	state := func(seed uint64) *ssm.Mamba3State {
		return &ssm.Mamba3State{
			Angle: randomTensor(seed, batch, heads, turning), SSM: randomTensor(seed+1, batch, heads, p, n),
			K: randomTensor(seed+2, batch, 1, heads, n), V: randomTensor(seed+3, batch, heads, p),
		}
	}
	grads := func() (tensor.Seq, ssm.TrapezoidGrads) {
		return like(src), ssm.TrapezoidGrads{
			LogDecay: like(s.LogDecay), Delta: like(s.Delta), Trap: like(s.Trap), B: like(s.B), C: like(s.C), Angles: like(s.Angles), Z: like(s.Z),
			BBias: tensor.New(heads, n), CBias: tensor.New(heads, n), D: tensor.New(heads), State: state(20),
		}
	}
	want, wantGrads := grads()
	s.State = state(10)
	ssm.TrapezoidalScanGrad(want, ddst, src, s, wantGrads)

	got, g := grads()
	states := [2]*ssm.Mamba3State{state(10), state(10)}
	part := func(i int) ssm.Trapezoid {
		p := s
		for _, x := range [][2]*tensor.Seq{{&p.LogDecay, &s.LogDecay}, {&p.Delta, &s.Delta}, {&p.Trap, &s.Trap}, {&p.B, &s.B}, {&p.C, &s.C}, {&p.Angles, &s.Angles}, {&p.Z, &s.Z}} {
			*x[0] = cutAt(*x[1], cut)[i]
		}
		p.State = states[i]
		return p
	}
	before := part(0)
	before.State = states[1]
	ssm.TrapezoidalScan(tensor.NewSeq(batch, cut, heads*p), src.Slice(0, cut), before)
	for _, i := range []int{1, 0} {
		p := g
		for _, x := range [][2]*tensor.Seq{{&p.LogDecay, &g.LogDecay}, {&p.Delta, &g.Delta}, {&p.Trap, &g.Trap}, {&p.B, &g.B}, {&p.C, &g.C}, {&p.Angles, &g.Angles}, {&p.Z, &g.Z}} {
			*x[0] = cutAt(*x[1], cut)[i]
		}
		ssm.TrapezoidalScanGrad(cutAt(got, cut)[i], cutAt(ddst, cut)[i], cutAt(src, cut)[i], part(i), p)
	}
	for name, pair := range map[string][2][]float32{
		"src": {got.Data, want.Data}, "LogDecay": {g.LogDecay.Data, wantGrads.LogDecay.Data}, "Delta": {g.Delta.Data, wantGrads.Delta.Data},
		"Trap": {g.Trap.Data, wantGrads.Trap.Data}, "B": {g.B.Data, wantGrads.B.Data}, "C": {g.C.Data, wantGrads.C.Data},
		"Angles": {g.Angles.Data, wantGrads.Angles.Data}, "Z": {g.Z.Data, wantGrads.Z.Data},
		"BBias": {g.BBias.Data(), wantGrads.BBias.Data()}, "CBias": {g.CBias.Data(), wantGrads.CBias.Data()}, "D": {g.D.Data(), wantGrads.D.Data()},
		"angles of the state": {g.State.Angle.Data(), wantGrads.State.Angle.Data()}, "SSM": {g.State.SSM.Data(), wantGrads.State.SSM.Data()},
		"K": {g.State.K.Data(), wantGrads.State.K.Data()}, "V": {g.State.V.Data(), wantGrads.State.V.Data()},
	} {
		wantClose(t, name, pair[0], pair[1], 1e-5)
	}
}

// backThroughStates is a mixer whose gradients go through states.
type backThroughStates interface {
	seqmix.Streamer
	seqmix.Trainer
	StateBackward(dsrc, ddst, src tensor.Seq, state, dstate *tensor.Tensor, grads seqmix.Grads)
}

// From position to position the gradients are those that transforms give, and in parts
// they are those of the whole.
func TestStateBackward(t *testing.T) {
	const batch, length, cut = 2, 90, 33
	for name, m := range map[string]backThroughStates{
		"S4D":       newS4D(t, ssm.S4DConfig{DModel: 5, DState: 8, Layout: ssm.StateSpacesS4}, 1),
		"S4D, real": newS4D(t, ssm.S4DConfig{DModel: 5, DState: 8, Layout: ssm.StateSpacesS4, Real: true, Init: ssm.InitReal}, 1),
		"S4":        newS4(t, ssm.S4Config{DModel: 3, DState: 8}, 1),
	} {
		r := newRand(1)
		src, ddst := randomSeq(r, batch, length, m.Dim()), randomSeq(r, batch, length, m.Dim())
		tape, err := m.Record(like(src), src)
		if err != nil {
			t.Fatal(err)
		}
		want, wantGrads := like(src), seqmix.NewGrads(m)
		tape.Backward(want, ddst, wantGrads)

		s := newStream[*ssm.LTIStream](t, m, batch)
		states := [2]*tensor.Tensor{s.State(), nil}
		s.Mix(tensor.NewSeq(batch, cut, m.Dim()), src.Slice(0, cut))
		states[1] = s.State()
		got, grads, dstate := like(src), seqmix.NewGrads(m), tensor.New(states[0].Shape()...)
		for _, i := range []int{1, 0} {
			m.StateBackward(cutAt(got, cut)[i], cutAt(ddst, cut)[i], cutAt(src, cut)[i], states[i], dstate, grads)
		}
		wantClose(t, name+": src", got.Data, want.Data, 1e-5)
		for p, param := range m.Params() {
			if param.Len() > 1 {
				wantClose(t, name+": "+p, grads.Of(param), wantGrads.Of(param), 1e-5)
			}
		}
	}
}

// The gradient of the gated norm is the slope of it.
func TestGatedRMSNormGradient(t *testing.T) {
	for _, before := range []bool{false, true} {
		n, err := ssm.NewGatedRMSNorm(12, 3, 1e-5, before)
		if err != nil {
			t.Fatal(err)
		}
		r := newRand(3)
		randomize(r, n.Weight.Data(), 1)
		x, z, dy := randomSeq(r, 2, 70, 12), randomSeq(r, 2, 70, 12), randomSeq(r, 2, 70, 12)
		dx, dz, grads := like(x), like(z), seqmix.Grads{n.Weight: tensor.New(12)}
		n.Backward(dx, dz, dy, x, z, grads)
		loss := func() (sum float64) {
			y := like(x)
			n.Apply(y, x, z)
			for i, v := range y.Data {
				sum += float64(v) * float64(dy.Data[i])
			}
			return sum
		}
		for name, c := range map[string][2][]float32{"x": {x.Data, dx.Data}, "z": {z.Data, dz.Data}, "weight": {n.Weight.Data(), grads.Of(n.Weight)}} {
			direction := make([]float32, len(c[0]))
			randomize(r, direction, 1)
			var along, size float64
			for i, d := range direction {
				along += float64(d) * float64(c[1][i])
				size += float64(c[1][i]) * float64(c[1][i])
			}
			const step = 1e-3
			move := func(by float32) {
				for i, d := range direction {
					c[0][i] += by * d
				}
			}
			old := slices.Clone(c[0])
			move(step)
			up := loss()
			copy(c[0], old)
			move(-step)
			slope := (up - loss()) / (2 * step)
			copy(c[0], old)
			if d := slope - along; d*d > 1e-6*size {
				t.Errorf("norm before the gate %v: gradient of %s along a direction is %v, by differences %v", before, name, along, slope)
			}
		}
	}
}
