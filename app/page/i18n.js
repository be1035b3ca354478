// The texts of the page in its languages. `data-i18n` in index.html names the text of an element, `data-i18n-label`
// its label. A text may have parts such as {seconds}.

export const DICTIONARIES = {
  en: {
    "skip": "Skip to the content",
    "title": "Dikte: speech to text",
    "tools": "Settings of the page",
    "docs": "API",
    "language": "Language of the page",
    "theme": "Colours",
    "theme.auto": "Auto",
    "theme.light": "Light",
    "theme.dark": "Dark",
    "status.loading": "Connecting",
    "status.ready": "{model} is ready",
    "status.waiting": "Not ready: {reason}",
    "status.gone": "The service does not answer",
    "start.title": "Speech to text, on this machine",
    "start.lead": "Drop audio or video files anywhere on this page, or speak. Nothing leaves this service.",
    "start.choose": "Choose files",
    "start.record": "Record",
    "options": "Options",
    "options.channels": "Channels",
    "options.channels.default": "As the service is set",
    "options.channels.auto": "Separate in calls",
    "options.channels.separate": "A speaker in each",
    "options.channels.mix": "Mix them",
    "options.keywords": "Names and terms that may be said",
    "options.language": "Language of the speech",
    "options.task": "Write",
    "options.task.transcribe": "What is said",
    "options.task.translate": "In English",
    "clips": "Recordings",
    "clip.recording": "Recording {number}",
    "state.queued": "waiting",
    "state.uploading": "uploading",
    "state.working": "transcribing",
    "state.recording": "recording",
    "state.finishing": "finishing",
    "state.done": "done",
    "state.failed": "failed",
    "state.cancelled": "cancelled",
    "progress.queued": "Waiting for its turn",
    "progress.uploading": "Uploading: {share} of {size}",
    "progress.working": "Transcribing",
    "progress.finishing": "The last words are coming",
    "facts.duration": "{duration} long",
    "facts.computed": "computed in {seconds} s",
    "facts.words": "{words} words",
    "facts.language": "language: {language}",
    "facts.confidence": "confidence {confidence}",
    "cancel": "Cancel",
    "stop": "Stop",
    "retry": "Try again",
    "play": "Play",
    "pause": "Pause",
    "position": "Position",
    "of": "of",
    "rate": "Speed",
    "zoom.in": "Show less time",
    "zoom.out": "Show more time",
    "save.sound": "Save the recording",
    "unplayable": "This browser cannot play this format; its words are here all the same.",
    "timeline": "Position in the recording",
    "words": "Transcript",
    "words.none": "No speech was found.",
    "words.listening": "Listening. The words appear here while you speak.",
    "speaker": "Speaker {speaker}",
    "word.title": "{time}, confidence {confidence}",
    "word.uncertain": "uncertain, {confidence}",
    "legend": "Confidence:",
    "legend.high": "high",
    "legend.medium": "medium",
    "legend.low": "low",
    "keys": "Space plays, arrow keys go from word to word, Enter plays a word.",
    "take": "Take the text along",
    "copy": "Copy the text",
    "copied": "Copied",
    "copy.curl": "Copy the command",
    "format.text": "Text",
    "format.busy": "The service writes the subtitles",
    "curl": "The same from a terminal",
    "model": "The model",
    "model.name": "Name",
    "model.backend": "Runs on",
    "model.language": "Language",
    "model.proofs": "Proofs",
    "model.proven": "all passed",
    "model.unproven": "failed or missing",
    "model.speed": "Speed here",
    "model.speed.value": "{speed} seconds of audio per second",
    "model.cpu": "CPU",
    "model.version": "Dikte",
    "accuracy": "Error rates on held-out speech, with 95 % intervals",
    "accuracy.set": "Set",
    "accuracy.clips": "Clips",
    "accuracy.wer": "Words wrong (WER)",
    "accuracy.cer": "Letters wrong (CER)",
    "announcements": "Announcements",
    "announce.done": "{name}: transcribed, {words} words",
    "announce.recording": "Recording",
    "drop": "Drop to transcribe",
    "key.title": "This service asks for a key",
    "key.text": "It is one of those in ASR_API_KEYS. The page keeps it until you close this tab.",
    "key.wrong": "The service does not know this key.",
    "key.label": "API key",
    "key.use": "Use it",
    "error.cancelled": "Cancelled",
    "error.title": "That did not work",
    "error.unsupported_media": "This is not audio that the service knows",
    "error.invalid_audio": "The audio is broken or empty",
    "error.upload_too_large": "The file is too large",
    "error.audio_too_long": "The recording is too long",
    "error.overloaded": "The service is busy",
    "error.not_ready": "The service is not ready",
    "error.deadline_exceeded": "It took too long",
    "error.unauthorized": "A key is needed",
    "error.network": "The service cannot be reached",
    "error.network.text": "Check the connection, and whether the service runs.",
    "error.later": "Try again in {seconds} s.",
    "error.microphone": "The microphone cannot be used",
    "error.microphone.refused": "Allow it for this page in the browser.",
    "error.microphone.missing": "There is none, or another program has it.",
    "error.microphone.insecure": "Browsers give it only to pages on https:// or localhost.",
    "error.stream": "The live connection ended",
    "error.stream.text": "What you said until then is kept: try again to transcribe the recording as a file.",
    "error.stream.refused": "The service did not accept the stream; perhaps it is busy.",
  },
  tr: {
    "skip": "İçeriğe geç",
    "title": "Dikte: konuşmadan yazıya",
    "tools": "Sayfa ayarları",
    "docs": "API",
    "language": "Sayfanın dili",
    "theme": "Renkler",
    "theme.auto": "Otomatik",
    "theme.light": "Açık",
    "theme.dark": "Koyu",
    "status.loading": "Bağlanıyor",
    "status.ready": "{model} hazır",
    "status.waiting": "Hazır değil: {reason}",
    "status.gone": "Hizmet yanıt vermiyor",
    "start.title": "Konuşmadan yazıya, bu makinede",
    "start.lead": "Ses veya video dosyalarını sayfanın herhangi bir yerine bırakın ya da konuşun. Hiçbir şey bu hizmetin dışına çıkmaz.",
    "start.choose": "Dosya seç",
    "start.record": "Kayda başla",
    "options": "Seçenekler",
    "options.channels": "Kanallar",
    "options.channels.default": "Hizmetin ayarı gibi",
    "options.channels.auto": "Görüşmelerde ayrı",
    "options.channels.separate": "Her birinde bir konuşmacı",
    "options.channels.mix": "Birleştir",
    "options.keywords": "Geçebilecek adlar ve terimler",
    "options.language": "Konuşmanın dili",
    "options.task": "Yazılacak",
    "options.task.transcribe": "Söylenenler",
    "options.task.translate": "İngilizcesi",
    "clips": "Kayıtlar",
    "clip.recording": "Kayıt {number}",
    "state.queued": "bekliyor",
    "state.uploading": "yükleniyor",
    "state.working": "yazıya dökülüyor",
    "state.recording": "kaydediliyor",
    "state.finishing": "bitiyor",
    "state.done": "bitti",
    "state.failed": "olmadı",
    "state.cancelled": "iptal edildi",
    "progress.queued": "Sırasını bekliyor",
    "progress.uploading": "Yükleniyor: {share} / {size}",
    "progress.working": "Yazıya dökülüyor",
    "progress.finishing": "Son sözcükler geliyor",
    "facts.duration": "süre {duration}",
    "facts.computed": "{seconds} sn'de hesaplandı",
    "facts.words": "{words} sözcük",
    "facts.language": "dil: {language}",
    "facts.confidence": "güven {confidence}",
    "cancel": "İptal",
    "stop": "Durdur",
    "retry": "Yeniden dene",
    "play": "Çal",
    "pause": "Duraklat",
    "position": "Konum",
    "of": "toplam",
    "rate": "Hız",
    "zoom.in": "Daha az süre göster",
    "zoom.out": "Daha çok süre göster",
    "save.sound": "Kaydı indir",
    "unplayable": "Tarayıcı bu biçimi çalamıyor; sözcükler yine de burada.",
    "timeline": "Kayıttaki konum",
    "words": "Metin",
    "words.none": "Konuşma bulunamadı.",
    "words.listening": "Dinliyor. Siz konuşurken sözcükler burada görünür.",
    "speaker": "Konuşmacı {speaker}",
    "word.title": "{time}, güven {confidence}",
    "word.uncertain": "kesin değil, {confidence}",
    "legend": "Güven:",
    "legend.high": "yüksek",
    "legend.medium": "orta",
    "legend.low": "düşük",
    "keys": "Boşluk çalar, ok tuşları sözcükler arasında gezer, Enter sözcüğü çalar.",
    "take": "Metni al",
    "copy": "Metni kopyala",
    "copied": "Kopyalandı",
    "copy.curl": "Komutu kopyala",
    "format.text": "Metin",
    "format.busy": "Hizmet altyazıyı yazıyor",
    "curl": "Aynısı komut satırından",
    "model": "Model",
    "model.name": "Ad",
    "model.backend": "Çalıştığı yer",
    "model.language": "Dil",
    "model.proofs": "Kanıtlar",
    "model.proven": "hepsi sağlandı",
    "model.unproven": "sağlanmadı ya da yok",
    "model.speed": "Buradaki hızı",
    "model.speed.value": "saniyede {speed} saniye ses",
    "model.cpu": "İşlemci",
    "model.version": "Dikte",
    "accuracy": "Eğitimde kullanılmamış konuşmada hata oranları, %95 güven aralığıyla",
    "accuracy.set": "Küme",
    "accuracy.clips": "Klip",
    "accuracy.wer": "Yanlış sözcük (WER)",
    "accuracy.cer": "Yanlış harf (CER)",
    "announcements": "Duyurular",
    "announce.done": "{name}: yazıya döküldü, {words} sözcük",
    "announce.recording": "Kaydediliyor",
    "drop": "Yazıya dökmek için bırakın",
    "key.title": "Bu hizmet bir anahtar istiyor",
    "key.text": "ASR_API_KEYS içindekilerden biri. Sayfa onu bu sekme kapanana kadar saklar.",
    "key.wrong": "Hizmet bu anahtarı tanımıyor.",
    "key.label": "API anahtarı",
    "key.use": "Kullan",
    "error.cancelled": "İptal edildi",
    "error.title": "Olmadı",
    "error.unsupported_media": "Bu, hizmetin tanıdığı bir ses dosyası değil",
    "error.invalid_audio": "Ses bozuk ya da boş",
    "error.upload_too_large": "Dosya çok büyük",
    "error.audio_too_long": "Kayıt çok uzun",
    "error.overloaded": "Hizmet meşgul",
    "error.not_ready": "Hizmet hazır değil",
    "error.deadline_exceeded": "Çok uzun sürdü",
    "error.unauthorized": "Anahtar gerekiyor",
    "error.network": "Hizmete ulaşılamıyor",
    "error.network.text": "Bağlantıyı ve hizmetin çalıştığını denetleyin.",
    "error.later": "{seconds} sn sonra yeniden deneyin.",
    "error.microphone": "Mikrofon kullanılamıyor",
    "error.microphone.refused": "Tarayıcıda bu sayfa için izin verin.",
    "error.microphone.missing": "Mikrofon yok ya da başka bir program kullanıyor.",
    "error.microphone.insecure": "Tarayıcılar onu yalnızca https:// ya da localhost sayfalarına verir.",
    "error.stream": "Canlı bağlantı koptu",
    "error.stream.text": "O ana kadar söyledikleriniz duruyor: kaydı dosya olarak yazıya dökmek için yeniden deneyin.",
    "error.stream.refused": "Hizmet bağlantıyı kabul etmedi; belki meşgul.",
  },
};

const STORED = "dikte.language";
let current = startLanguage();

function startLanguage() {
  const wanted = [localStorage.getItem(STORED), ...navigator.languages].map((tag) => (tag ?? "").slice(0, 2));
  return wanted.find((code) => code in DICTIONARIES) ?? "en";
}

/** The language of the page: a key of DICTIONARIES. */
export function language() {
  return current;
}

/** Choose the language of the page, and keep the choice. */
export function setLanguage(code) {
  current = code;
  localStorage.setItem(STORED, code);
}

/** A text in the language of the page; `parts` fill its {names}. */
export function t(key, parts = {}) {
  return DICTIONARIES[current][key].replace(/\{(\w+)\}/g, (_, name) => parts[name]);
}

/** Whether there is such a text. */
export function hasText(key) {
  return key in DICTIONARIES[current];
}

/** Put the texts of the language into the page. */
export function translatePage() {
  document.documentElement.lang = current;
  document.title = t("title");
  for (const element of document.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
  for (const element of document.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
  }
}

/** A number between 0 and 1 as a percentage. */
export function percent(share, digits = 0) {
  const format = { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(current, format).format(share);
}

/** A number with at most so many digits after the point. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(current, { maximumFractionDigits: digits }).format(value);
}

/** Seconds as m:ss or h:mm:ss. */
export function clock(seconds) {
  const whole = Math.floor(Math.max(0, seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600));
  return parts.map((part, place) => (place ? String(part).padStart(2, "0") : part)).join(":");
}
