// A short beep a verdict, for people who look at the item and not at the screen. Off until somebody turns it on.
const TUNES = {
  good: [[660, 0], [880, 0.09]],
  bad: [[330, 0], [247, 0.14]],
  wait: [[520, 0], [520, 0.16]],
  problem: [[220, 0]],
};
const LENGTH_S = 0.08;
const LOUDNESS = 0.12;
let context = null;

/** Play the tune of a tone. */
export function beep(tone) {
  context ??= new AudioContext();
  context.resume();
  for (const [hertz, after] of TUNES[tone] ?? []) {
    const start = context.currentTime + after;
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(LOUDNESS, start);
    gain.gain.exponentialRampToValueAtTime(0.001, start + LENGTH_S);
    const oscillator = new OscillatorNode(context, { frequency: hertz });
    oscillator.connect(gain).connect(context.destination);
    oscillator.start(start);
    oscillator.stop(start + LENGTH_S);
  }
}
