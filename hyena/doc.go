// Package hyena holds the mixers that are made of long convolutions and gates.
package hyena
