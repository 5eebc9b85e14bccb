//go:build !purego

// func pause()
TEXT ·pause(SB), 4, $0-0
	PAUSE
	PAUSE
	RET
