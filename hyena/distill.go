package hyena

import (
	"errors"
	"fmt"
	"iter"

	"github.com/seqmix/seqmix"
	"github.com/seqmix/seqmix/internal/par"
	"github.com/seqmix/seqmix/tensor"
)

// A Distilled is a [Hyena] whose long convolutions are replaced by modal filters with
// about the same taps (Laughing Hyena, arXiv:2310.18780): a position costs the same and
// the state has the same size however long the sequence is.
//
// It shares the projections, the short convolution and their parameters with the Hyena
// it was made from. The filters are its own: filter_fn.0.distances (e, S, 1, 2),
// filter_fn.0.residues (e, S, 1, 2) and filter_fn.0.D (e) for the first of the N-1
// convolutions, and so on: see [PoleDistances].
type Distilled struct {
	hyena   *Hyena
	filters []*Modal
	limit   int // positions, 0 for no limit
}

// A ChannelFit is how well the filter of one channel was approximated.
type ChannelFit struct {
	Conv, Channel int
	Fit
}

// Distill approximates the filters by sums of exponentials, see [FitModal], and returns
// a mixer that computes with these, and the fits of all channels, those of the first
// convolution first. The errors tell whether it may stand for m; nothing is trained.
// Channels whose filters need fewer states than others are padded.
//
// Filters of Hyena need not decay, and are not defined beyond LMax positions. So o.Growth
// is 1e15 by default, and the mixer takes no longer sequences. With a Growth of 1 the
// result is coarser and takes sequences of any length.
func (m *Hyena) Distill(o FitOptions) (*Distilled, []ChannelFit, error) {
	fillIn(&o.Growth, 1e15)
	e, convs := m.cfg.channels(), m.cfg.Order-1
	h := m.taps(m.cfg.LMax)
	fits := make([]ChannelFit, e*convs)
	errs := make([]error, len(fits))
	par.Do(len(fits), 1, par.Func(func(lo, hi int) {
		taps := make([]float64, h.Rows)
		for i := lo; i < hi; i++ {
			conv, channel := i/e, i%e
			at := m.filterColumn(conv, channel)
			for t := range taps {
				taps[t] = float64(h.Row(t)[at])
			}
			f, err := FitModal(taps, o)
			if err != nil {
				errs[i] = fmt.Errorf("convolution %d, channel %d: %w", conv, channel, err)
				continue
			}
			f.Skip += float64(m.d.Data()[at])
			fits[i] = ChannelFit{conv, channel, *f}
		}
	}))
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	d := &Distilled{hyena: m}
	if o.Growth > 1 {
		d.limit = m.cfg.LMax
	}
	for conv := range convs {
		f, err := newDistilled(fits[conv*e : (conv+1)*e])
		if err != nil {
			return nil, nil, err
		}
		d.filters = append(d.filters, f)
	}
	return d, fits, nil
}

// filterColumn returns which channel of the implicit filter a convolution and a channel
// of it have.
func (m *Hyena) filterColumn(conv, channel int) int {
	if m.cfg.Layout == ChannelMajor {
		return channel*(m.cfg.Order-1) + conv
	}
	return conv*m.cfg.channels() + channel
}

// newDistilled returns the filters of the channels of one convolution.
func newDistilled(fits []ChannelFit) (*Modal, error) {
	states := 1
	for i := range fits {
		states = max(states, len(fits[i].Distances))
	}
	m, err := NewModal(ModalConfig{Dim: len(fits), Form: PoleDistances, States: states})
	if err != nil {
		return nil, err
	}
	for c := range fits {
		m.d.Data()[c] = float32(fits[c].Skip)
		for i, v := range fits[c].Distances {
			at, r := 2*(c*states+i), fits[c].Residues[i]
			m.poles.Data()[at], m.poles.Data()[at+1] = float32(real(v)), float32(imag(v))
			m.residues.Data()[at], m.residues.Data()[at+1] = float32(real(r)), float32(imag(r))
		}
		for i := len(fits[c].Distances); i < states; i++ {
			m.poles.Data()[2*(c*states+i)] = -1 // λ = 0
		}
	}
	return m, nil
}

// Dim returns the width of the vectors.
func (d *Distilled) Dim() int { return d.hyena.Dim() }

// States returns the number of complex states of each channel of a convolution.
func (d *Distilled) States(conv int) int { return d.filters[conv].cfg.States }

// Params yields the parameters: see [Distilled].
func (d *Distilled) Params() iter.Seq2[string, *tensor.Tensor] {
	parts := []prefixedParams{{"in_proj.", d.hyena.in.Params()}, {"short_filter.", d.hyena.short.Params()}}
	for i, f := range d.filters {
		parts = append(parts, prefixedParams{fmt.Sprintf("filter_fn.%d.", i), f.Params()})
	}
	return prefixed(append(parts, prefixedParams{"out_proj.", d.hyena.out.Params()})...)
}

// Mix computes whole sequences. It panics with a *tensor.ShapeError if they are longer
// than the mixer takes: see [Hyena.Distill].
func (d *Distilled) Mix(dst, src tensor.Seq) {
	tensor.CheckMix("hyena.Distilled.Mix", dst, src, d.Dim())
	d.checkLen("hyena.Distilled.Mix", src)
	if src.Batch == 0 {
		return
	}
	s, err := d.hyena.stream(d, src.Batch, d.limit)
	if err != nil {
		panic(err) // it always streams
	}
	s.Mix(dst, src)
}

// checkLen panics if src is longer than the mixer takes.
func (d *Distilled) checkLen(op string, src tensor.Seq) {
	if d.limit > 0 {
		d.hyena.checkLen(op, src, d.limit)
	}
}

// NewStream returns a *[Stream] at the beginning of batch sequences.
func (d *Distilled) NewStream(batch int) (seqmix.Stream, error) {
	s, err := d.hyena.stream(d, batch, d.limit)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (d *Distilled) kind() string { return "hyena.Distilled" }

func (d *Distilled) streams(batch, _ int) ([]seqmix.Stream, error) {
	var list []seqmix.Stream
	for _, f := range d.filters {
		s, err := f.NewStream(batch)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (d *Distilled) reset(long []seqmix.Stream, _ int) {
	for _, s := range long {
		s.Reset()
	}
}
