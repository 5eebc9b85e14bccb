package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser returns a tab of a headless Chromium, if the machine has one.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium on this machine")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-quic", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestBrowser types a text, watches it go on, and finds it again after a restart.
func TestBrowser(t *testing.T) {
	ctx := browser(t)
	m, dir := newModel(t), t.TempDir()
	want := expected(t, m, []string{"Hello"}, 30)[0]
	ready := func(condition string) chromedp.Action[chromedp.Void] { return chromedp.Poll[chromedp.Void](condition) }
	err := chromedp.Do(ctx,
		chromedp.Navigate(serve(t, m, dir)),
		chromedp.WaitVisible("#list button"),
		chromedp.SetValue("#tokens", "30"),
		chromedp.SetValue("#temperature", "0"),
		chromedp.SendKeys("#prompt", "Hello\r"),
		ready(`document.getElementById('status').textContent.includes('saved')`),
	)
	if err != nil {
		t.Fatal(err)
	}
	text, status := content(t, ctx, "#text"), content(t, ctx, "#status")
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	err = chromedp.Do(ctx,
		chromedp.Navigate(serve(t, newModel(t), dir)),
		ready(`document.getElementById('text').textContent.startsWith('Hello')`),
	)
	if err != nil {
		t.Fatal(err)
	}
	again := content(t, ctx, "#text")
	if text != "Hello"+want || again != text {
		t.Errorf("the page shows %q and after a restart %q, want %q", text, again, "Hello"+want)
	}
	if !strings.Contains(status, "30 tokens") || !strings.Contains(status, "tokens/s") {
		t.Errorf("status %q", status)
	}
	if name := os.Getenv("CHAT_SERVER_SCREENSHOT"); name != "" {
		if err := os.WriteFile(name, picture, 0o666); err != nil {
			t.Error(err)
		}
	}
}

// content returns the text in an element of the page.
func content(t *testing.T, ctx context.Context, selector string) string {
	t.Helper()
	text, err := chromedp.Run(ctx, chromedp.TextContent(selector))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
