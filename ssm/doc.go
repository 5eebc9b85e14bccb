// Package ssm holds state space mixers.
package ssm
