"""Turkish words: the word lists of the sentence maker.

In the lists, `_` stands for a space. After a noun or verb, `/` gives the stem before a vowel (`şehir/şehr`; a bare
`/` softens the final t), `*` asks for front-vowel endings (`saat*`), `!` keeps a final k, ç or p hard (`hukuk!`).
"""


def _listed(text: str, separator: str | None = None) -> list[str]:
    """Cut a word list into its entries: at white space, or at a separator and line ends."""
    if separator is None:
        return [entry.replace("_", " ") for entry in text.split()]
    return [entry for line in text.strip().splitlines() for entry in line.split(separator)]


PEOPLE = _listed("""
öğretmen öğrenci doktor hemşire mühendis avukat hakim savcı polis jandarma asker subay general* komutan işçi memur
müdür patron çalışan müşteri satıcı esnaf kasap bakkal manav fırıncı aşçı garson şoför pilot kaptan denizci balıkçı
çiftçi çoban bahçıvan marangoz terzi kuaför berber eczacı veteriner psikolog/psikoloğ filozof ressam heykeltıraş
müzisyen piyanist kemancı şarkıcı oyuncu yönetmen senarist yazar şair gazeteci muhabir sunucu fotoğrafçı tasarımcı
mimar yazılımcı programcı bilgisayarcı muhasebeci bankacı sigortacı temsilci danışman sekreter kapıcı bekçi itfaiyeci
postacı kurye hamal komşu arkadaş dost misafir yolcu turist rehber anne baba kardeş abla ağabey dede nine teyze hala
amca dayı yenge enişte kuzen yeğen torun gelin damat/ kayınvalide kayınpeder bebek çocuk genç/genc yaşlı kadın adam
kız oğlan bey hanım usta çırak kalfa hoca profesör doçent asistan bilgin araştırmacı kaşif mucit/mucid hükümdar
padişah sultan vezir kral kraliçe prens prenses şövalye savaşçı kahraman vatandaş başkan bakan vali kaymakam muhtar
elçi sporcu futbolcu kaleci hakem antrenör güreşçi yüzücü dansçı sihirbaz palyaço hırsız dolandırıcı tanık sanık
kiracı emlakçı elektrikçi tesisatçı tamirci boyacı temizlikçi bakıcı hasta diyetisyen cerrah jeolog/jeoloğ
biyolog/biyoloğ kimyager fizikçi matematikçi tarihçi ekonomist girişimci yatırımcı
""")

THINGS = _listed("""
kitap defter kalem silgi cetvel pergel çanta sıra tahta tebeşir masa sandalye koltuk kanepe dolap çekmece raf yatak
yorgan yastık battaniye çarşaf halı kilim perde ayna lamba avize mum ampul* priz fiş kablo anahtar kilit/ kapı pencere
duvar tavan zemin merdiven asansör balkon çatı baca soba kalorifer kombi klima vantilatör televizyon radyo telefon
bilgisayar tablet klavye fare ekran yazıcı kamera mikrofon kulaklık hoparlör modem saat* gözlük şemsiye cüzdan kemer
kravat gömlek pantolon ceket kazak hırka mont palto yelek elbise etek bluz tişört çorap ayakkabı bot terlik çizme
şapka bere eldiven atkı düğme fermuar iplik iğne makas bıçak çatal kaşık tabak bardak fincan tencere tava tepsi
çaydanlık cezve sürahi şişe kavanoz kutu paket poşet sepet kova leğen süpürge bez sünger sabun şampuan havlu fırça
tarak jilet krem parfüm ruj oje ilaç hap! şurup merhem bandaj şırınga termometre gazete dergi mektup zarf pul
kartpostal kağıt/kağıd dosya klasör takvim ajanda harita küre pusula dürbün teleskop mikroskop/mikroskob fotoğraf
albüm çerçeve tablo heykel vazo çiçek saksı oyuncak top! bebek balon uçurtma bisiklet motosiklet araba otomobil otobüs
minibüs kamyon kamyonet traktör tren tramvay metro vapur gemi kayık yat uçak helikopter roket füze tekerlek lastik
direksiyon fren debriyaj motor bagaj jant jeton bilet pasaport kimlik ehliyet kart para çek bono altın gümüş yüzük
kolye küpe bilezik broş hediye ödül kupa madalya bayrak davul zurna gitar keman piyano flüt saz bağlama ud kanun
çekiç tornavida pense çivi vida matkap testere balta kürek kazma tırmık hortum musluk boru vana lavabo küvet duş
fayans parke boya tuğla çimento kum çakıl demir çelik bakır cam plastik kumaş deri yün ipek jelatin pil batarya robot
sensör lazer jeneratör trafo kondansatör transistör devre yazılım program uygulama şifre mesaj fatura sözleşme makbuz
dilekçe rapor belge form imza mühür/mühr dekont kargo koli abonelik tarife kampanya vitrin tezgah kasa terazi etiket
reyon joker vinç/vinc kepçe fener meşale halat zincir çadır
""")

PLACES = _listed("""
okul sınıf üniversite fakülte kütüphane laboratuvar kantin yurt/yurd hastane klinik eczane market bakkal pazar çarşı
mağaza dükkan fırın kasap lokanta restoran kafe pastane otel pansiyon kamp! plaj sahil deniz göl nehir/nehr dere çay
ırmak şelale orman dağ tepe yayla vadi ova çöl ada yarımada körfez köy kasaba şehir/şehr ilçe mahalle sokak cadde
bulvar meydan köprü tünel kavşak durak istasyon gar liman iskele terminal* otogar garaj otopark! park! bahçe tarla
sera çiftlik ahır kümes ev apartman daire villa gecekondu saray kale kule cami kilise müze sergi galeri tiyatro sinema
stadyum salon banka postane belediye karakol mahkeme hapishane kışla fabrika atölye depo ofis şirket büro şube merkez
koridor mutfak banyo oda teras bodrum kiler ülke sınır gümrük kıta dünya uzay gezegen yıldız ay mağara maden kuyu
baraj santral* pist lunapark! sirk kuaför berber hamam havuz stüdyo ajans noter konsolosluk elçilik bakanlık meclis
""")

FOODS = _listed("""
ekmek simit/simid poğaça börek çörek pasta kurabiye kek baklava lokum helva dondurma çikolata şeker bal reçel tereyağ
peynir zeytin yumurta süt yoğurt/yoğurd ayran kaymak krema sucuk salam sosis pastırma et tavuk balık hamsi köfte kebap
döner lahmacun pide pizza makarna pilav bulgur pirinç mercimek nohut/ fasulye bezelye patates soğan sarımsak domates
biber patlıcan kabak havuç ıspanak pırasa lahana karnabahar marul maydanoz nane roka salatalık turp! enginar bamya
mısır mantar elma armut/armud ayva nar üzüm incir kayısı şeftali erik kiraz vişne çilek karpuz kavun muz portakal
mandalina limon greyfurt ananas kivi hurma fındık ceviz badem fıstık leblebi çekirdek çorba salata turşu salça sirke
tuz karabiber kimyon tarçın vanilya jöle puding muhallebi sütlaç çay kahve su/suy kola gazoz limonata şalgam komposto
hoşaf sandviç! tost menemen omlet mantı sarma dolma güveç musakka un maya irmik nişasta
""")

ANIMALS = _listed("""
kedi köpek kuş tavşan at/at eşek inek öküz boğa koyun keçi kuzu tavuk horoz ördek kaz hindi güvercin serçe karga
kartal şahin baykuş leylek martı papağan kanarya bülbül kaplan aslan fil zürafa zebra jaguar leopar ayı kurt/kurd
tilki çakal geyik ceylan maymun goril yılan kertenkele timsah kaplumbağa kurbağa balina yunus ahtapot yengeç ıstakoz
arı karınca kelebek sinek örümcek böcek çekirge hamster fare sincap kirpi yarasa deve penguen fok
""")

BODY = _listed("""
baş saç yüz alın/aln kaş göz kirpik kulak burun/burn ağız/ağz dudak diş dil çene boyun/boyn omuz/omz kol dirsek bilek
el parmak tırnak göğüs/göğs karın/karn sırt bel kalça bacak diz ayak topuk kalp*/kalb akciğer karaciğer böbrek mide
bağırsak beyin/beyn damar kan kas kemik deri sinir iskelet omurga
""")

IDEAS = _listed("""
fikir/fikr düşünce umut/umud hayal* rüya sevgi aşk nefret öfke korku cesaret sabır/sabr merak! ilgi bilgi eğitim
öğretim ders sınav ödev proje soru cevap sorun çözüm karar seçim görev sorumluluk hak/hakk özgürlük adalet barış savaş
anlaşma antlaşma yasa kural ceza ödül başarı başarısızlık çaba deneyim alışkanlık yetenek beceri zeka hafıza dikkat*
sağlık hastalık ağrı ateş tedavi ameliyat/ameliyat aşı kaza deprem sel fırtına yangın iş meslek maaş ücret gelir gider
bütçe borç/borc kredi faiz vergi enflasyon ekonomi ticaret ithalat ihracat üretim tüketim yatırım kazanç zarar fiyat
indirim zam/zamm kampanya siyaset demokrasi cumhuriyet devlet hükümet millet toplum aile evlilik düğün nişan bayram
tören toplantı görüşme randevu seyahat* yolculuk tatil gezi macera oyun maç turnuva yarış spor futbol müzik şarkı
türkü dans resim/resm sanat edebiyat şiir roman hikaye masal efsane tarih kültür gelenek dil kelime cümle harf* anlam
metin/metn paragraf başlık konu özet yorum eleştiri övgü şaka yalan gerçek sır/sırr dedikodu haber olay durum sebep
sonuç/sonuc amaç hedef plan yöntem süreç değişim gelişme ilerleme teknoloji bilim felsefe mantık inanç din ahlak!
vicdan ruh beden hayat ölüm doğum gençlik yaşlılık çocukluk zaman vakit*/vakt geçmiş gelecek an ömür/ömr güç/güc
enerji hız ses ışık renk/reng koku tat/tad şekil/şekl boyut ağırlık uzunluk yükseklik derinlik genişlik sıcaklık
soğukluk güzellik mutluluk üzüntü heyecan şüphe endişe pişmanlık gurur utanç kıskançlık saygı hoşgörü yardım dayanışma
rekabet fırsat tehlike risk/risk ihtimal* tahmin öneri tavsiye uyarı itiraz şikayet talep özür/özr izin/izn davet
teklif niyet istek ihtiyaç vaat*/vaad rol* jest jüri joker ajanda hijyen vefa veda vatan vizyon hafta fasıl/fasl
faaliyet fark/fark havza hüzün/hüzn
""")

SCIENCE = _listed("""
hücre doku organ organizma bakteri virüs mantar protein enzim hormon vitamin mineral* gen kromozom mutasyon evrim
ekosistem besin fotosentez solunum sindirim dolaşım kalıtım tür popülasyon atom molekül element bileşik karışım
asit/asid baz tuz iyon elektron proton nötron çekirdek izotop! periyot/periyod tepkime çözelti çözünürlük yoğunluk
kütle hacim*/hacm basınç sıcaklık ısı enerji kuvvet hareket ivme hız momentum sürtünme dalga frekans ışık mercek ayna
prizma elektrik akım gerilim direnç devre mıknatıs manyetizma sayı rakam kesir/kesr ondalık yüzde oran orantı denklem
eşitsizlik fonksiyon türev integral* limit matris vektör üçgen kare dikdörtgen daire çember açı kenar köşegen alan
çevre küp! silindir koni piramit/piramid küre olasılık istatistik ortalama medyan grafik tablo değişken katsayı
polinom kök üs/üss logaritma küme teorem ispat aksiyom parabol* hiperbol* simetri dönüşüm iklim atmosfer volkan fosil
kayaç mevsim arz talep piyasa tekel pazar maliyet karlılık sermaye döviz ihracat borsa hisse tahvil jeoloji fizyoloji
hidrojen helyum oksijen karbon azot fosfor kükürt/kükürd klor flor sodyum kalsiyum imparatorluk beylik sultanlık
hanedan devrim isyan fetih/feth sefer uygarlık yazıt tapınak ferman
""")

NATURE = _listed("""
güneş ay yıldız bulut yağmur kar dolu sis rüzgar fırtına şimşek yıldırım hava toprak taş kaya kum çamur deniz dalga
köpük ırmak orman ağaç dal yaprak kök çiçek gül lale papatya menekşe karanfil ot çimen tohum meşe çam kavak
söğüt/söğüd çınar ceviz zambak sümbül nergis vaha buz
""")

ADJECTIVES = _listed("""
büyük küçük uzun kısa geniş dar kalın ince yüksek alçak derin sığ ağır hafif hızlı yavaş güçlü zayıf yeni eski genç
yaşlı güzel çirkin iyi kötü temiz kirli sıcak soğuk ılık serin kuru ıslak nemli sert yumuşak pürüzlü düz eğri yuvarlak
köşeli dolu boş açık kapalı aydınlık karanlık parlak mat renkli renksiz kırmızı mavi yeşil sarı siyah beyaz mor pembe
turuncu gri kahverengi lacivert eflatun bej ucuz pahalı değerli değersiz zengin fakir mutlu üzgün neşeli kederli
sinirli sakin heyecanlı korkak cesur çalışkan tembel dürüst yalancı akıllı zeki aptal bilgili cahil tecrübeli acemi
becerikli sabırlı sabırsız nazik kaba kibar saygılı saygısız cömert cimri alçakgönüllü kibirli samimi soğukkanlı
utangaç girişken dikkatli dikkatsiz titiz dağınık düzenli düzensiz sessiz gürültülü kalabalık tenha rahat rahatsız
konforlu güvenli tehlikeli zararlı yararlı faydalı gerekli gereksiz önemli önemsiz kolay zor basit karmaşık ilginç
sıkıcı eğlenceli komik ciddi garip tuhaf sıradan özel genel olağanüstü muhteşem harika berbat korkunç vahşi evcil
yabani tatlı acı ekşi tuzlu baharatlı lezzetli taze bayat çiğ pişmiş olgun ham sağlıklı hasta yorgun dinç zinde şişman
şişmiş bodur kel kıvırcık sarışın esmer kumral sağlam kırık bozuk çürük yırtık delik paslı ahşap metal plastik pamuklu
yünlü geçerli geçersiz yasal yasak serbest zorunlu mümkün imkansız kesin belirsiz doğru yanlış gerçek sahte doğal
yapay yerli yabancı ulusal uluslararası modern klasik geleneksel çağdaş tarihi antik dini siyasi ekonomik toplumsal
kültürel bilimsel teknik dijital elektronik otomatik mekanik kimyasal fiziksel biyolojik matematiksel psikolojik
felsefi kuzeyli güneyli doğulu batılı köylü kentli bekar evli dul nişanlı işsiz emekli ünlü tanınmış bilinmeyen gizli
gizemli masum suçlu haklı haksız adil bağımsız bağımlı özgür mahkum yalnız kararlı kararsız umutlu umutsuz iyimser
kötümser hevesli hırslı fedakar vefalı vefasız vicdanlı huysuz huzurlu huzursuz hijyenik fosforlu frenli havalı
meşgul* müsait uygun hazır eksik tam yarım bütün fazla az yoğun seyrek sık nadir ani sürekli geçici kalıcı son ilk
sonsuz sınırlı sınırsız eşit eşitsiz benzer farklı aynı karşıt yakın uzak sonraki önceki şeffaf saydam elastik esnek
katı sıvı akışkan yapışkan kaygan pürüzsüz keskin kör sağır dilsiz topal görünmez görkemli gösterişli sade süslü
""")

# Words that stand before a noun but are odd as a predicate.
_ONLY_BEFORE_NOUNS = set(_listed("son ilk bütün aynı sonraki önceki ahşap metal plastik pişmiş bilinmeyen"))
PREDICATES = [word for word in ADJECTIVES if word not in _ONLY_BEFORE_NOUNS]
HUMAN_TRAITS = _listed("""
mutlu üzgün neşeli sinirli sakin heyecanlı cesur çalışkan tembel dürüst akıllı zeki bilgili tecrübeli acemi becerikli
sabırlı sabırsız nazik kaba kibar saygılı cömert cimri kibirli samimi utangaç dikkatli dikkatsiz titiz dağınık düzenli
sessiz rahat ciddi garip sağlıklı hasta yorgun dinç zinde bekar evli nişanlı işsiz emekli ünlü masum suçlu haklı
haksız adil bağımsız özgür yalnız kararlı kararsız umutlu umutsuz iyimser kötümser hevesli hırslı fedakar vefalı
huzurlu huzursuz müsait hazır güçlü zayıf genç yaşlı uzun kısa
""")

VERBS_ACC = _listed("""
al sat gör bul oku yaz çiz boya aç kapat kapa kilitle kır yap boz onar tamir_et/ yıka temizle sil süpür kurut ütüle
katla kes doğra dik ör sök tak çıkar giy topla dağıt diz sırala düzenle taşı kaldır indir koy götür getir gönder yolla
ilet teslim_et/ kabul_et/ reddet/ iade_et/ iptal_et/ değiştir yenile güncelle kur yükle kopyala yapıştır kaydet/
paylaş izle seyret/ dinle duy işit fark_et/ hisset/ anla kavra öğren öğret anlat açıkla tarif_et/ özetle incele
araştır ara sorgula kontrol_et/ denetle ölç tart say hesapla karşılaştır çöz bil tanı hatırla unut ezberle tekrarla
düşün hayal_et/ planla tasarla üret tüket kullan harca biriktir sakla gizle koru savun destekle eleştir öv beğen sev
özle iste bekle seç tercih_et/ öner kazan kaybet/ çal yakala kovala it çek bas tut bırak at fırlat vur döv yen dene
sına test_et/ başlat durdur bitir tamamla ertele sürdür yönet yönlendir kirala ödünç_al sipariş_et/ öde hazırla ısıt
soğut dondur kavur haşla pişir kızart karıştır ekle çıkart böl çarp tatlandır süsle göster kanıtla ispatla keşfet/
icat_et/ geliştir iyileştir artır azalt büyüt küçült uzat kısalt genişlet daralt yükselt alçalt hızlandır yavaşlat
onayla imzala doldur boşalt ziyaret_et/ takip_et/ merak_et/ affet/ ihmal_et/ ihraç_et/ ithal_et/ finanse_et/ fethet/
hallet/ hapset/ havalandır fotoğrafla filme_al vazgeçir veto_et/
""")

VERBS_MIND = _listed(
    "düşün anla kavra tartış açıkla anlat savun sorgula paylaş hatırla unut öğren önemse araştır eleştir"
)

VERBS_EAT = _listed("""
ye iç pişir al sat sev iste dene tat/tad hazırla ısıt yut çiğne paylaş ısmarla getir sipariş_et/ ikram_et/
""")

VERBS_DAT = _listed("""
bak başla git/gid gel katıl inan güven alış benze kavuş ulaş var dön gir kız küs şaş şaşır sevin üzül gülümse dokun
saldır yardım_et/ teşekkür_et/ itiraz_et/ devam_et/ karar_ver cevap_ver önem_ver dikkat_et/ ihtiyaç_duy saygı_duy
yaklaş uğra taşın yerleş kaç koş yürü tırman bin sığın sarıl uy karış bağlan başvur abone_ol şahit_ol sahip_çık
hayran_kal özen_göster tepki_göster zarar_ver söz_ver destek_ol engel_ol göz_at değin yönel odaklan özen
""")

VERBS_GO = _listed("git/gid gel dön gir uğra ulaş var yaklaş taşın yerleş koş yürü kaç sığın")

VERBS_ABL = _listed("""
kork çekin utan bık usan hoşlan bahset/ söz_et/ vazgeç kaç uzaklaş yararlan faydalan kurtul ayrıl şüphelen şikayet_et/
nefret_et/ etkilen sıkıl kaçın sakın iğren tiksin haberdar_ol endişe_et/ zevk_al ders_al memnun_kal
""")

VERBS_LEAVE = _listed("çık ayrıl gel dön uzaklaş kaç geç taşın yürü in geri_dön hareket_et/")

VERBS_LOC = _listed("""
otur yaşa çalış bekle dur kal uyu dinlen eğlen oyna buluş konuş gez dolaş yüz koş büyü doğ kaybol saklan yat toplan
eğitim_al staj_yap alışveriş_yap fotoğraf_çek kamp_kur sohbet_et/ kahvaltı_et/ nöbet_tut ders_çalış ateş_yak tatil_yap
görev_yap
""")

VERBS_INS = _listed("""
konuş tanış buluş görüş ilgilen uğraş tartış anlaş evlen kavga_et/ dalga_geç gurur_duy dans_et/ alay_et/ mücadele_et/
rekabet_et/ yarış dertleş mesajlaş yazış vedalaş barış övün karşılaş selamlaş
""")

VERBS_ALONE = _listed("""
uyu uyan gül ağla koş yürü dinlen yorul acık susa üşü terle hapşır öksür esne düş kalk otur zıpla dans_et/ şarkı_söyle
bağır fısılda sus konuş düşün çalış bekle gecik acele_et/ hazırlan giyin soyun yıkan taran iyileş hastalan kilo_al
zayıfla şişmanla yaşlan büyü evlen boşan taşın emekli_ol istifa_et/ başar kazan kaybet/ oyna yüz tırman gez eğlen
sıkıl sevin üzül kork şaşır heyecanlan sinirlen sakinleş rahatla utan pişman_ol yanıl haklı_çık geri_dön yola_çık
kahvaltı_yap kaybol hayal_kur vedalaş fikir_değiştir jimnastik_yap halay_çek hafifle ferahla dua_et/ ödev_yap
yemek_pişir çay_iç kitap_oku müzik_dinle televizyon_izle telefon_et/ namaz_kıl oruç_tut araba_kullan para_biriktir
not_al resim_yap
""")

VERBS_THING = _listed("""
bozul kırıl düş kaybol kirlen eski yıpran ısın soğu kuru ıslan don eri yan sön dol boşal açıl kapan değiş büyü küçül
art azal çoğal yüksel alçal hızlan yavaşla dur çalış bit başla sür devam_et/ geliş yayıl parla sol karar sarar kızar
çürü pas_tut çatla patla devril yıkıl yapıl satıl kiralan onarıl temizlen hazırlan tamamlan güncellen yenilen beklen
görül bulun unutul hatırlan konuşul tartışıl incelen ölçül hesaplan kullanıl üretil taşın gönderil kabul_gör
""")

MANNERS = _listed("""
hızla yavaşça sessizce dikkatle sabırla kolayca zorla aniden birden hemen yavaş_yavaş gizlice açıkça güzelce iyice
sıkça nadiren genellikle bazen sürekli daima tekrar yine birlikte tek_başına özenle merakla hevesle sevinçle üzüntüyle
korkuyla heyecanla mecburen isteyerek gülerek koşarak ağlayarak düşünmeden durmadan nihayet mutlaka elbette belki
galiba herhalde sanırım maalesef ne_yazık_ki neyse_ki kesinlikle tamamen kısmen özellikle fazlasıyla yeterince ustaca
cesurca kibarca ciddiyetle gönülden içtenlikle elinden_geldiğince usulca derhal vaktinde zamanında boşuna
""")

WHEN_PAST = _listed("""
dün evvelsi_gün geçen_hafta geçen_ay geçen_yıl dün_akşam dün_gece bu_sabah az_önce demin eskiden yıllar_önce
biraz_önce geçen_pazartesi geçen_cuma geçen_yaz geçen_kış iki_gün_önce çocukken bayramda
""")
WHEN_NOW = _listed(
    "şimdi şu_anda bugün bu_günlerde her_gün her_sabah hala artık bu_hafta akşamları hafta_sonları sabahları"
)
WHEN_FUTURE = _listed("""
yarın öbür_gün gelecek_hafta gelecek_ay gelecek_yıl birazdan yakında yarın_sabah yarın_akşam bu_akşam önümüzdeki_cuma
önümüzdeki_yaz haftaya ileride bir_gün tatilde iki_gün_sonra
""")

CITIES = _listed("""
Adana Adıyaman Afyon Ağrı Aksaray Amasya Ankara Antalya Ardahan Artvin Aydın Balıkesir Bartın Batman Bayburt Bilecik
Bingöl Bitlis Bolu Burdur Bursa Çanakkale Çankırı Çorum Denizli Diyarbakır Düzce Edirne Elazığ Erzincan Erzurum
Eskişehir Gaziantep Giresun Gümüşhane Hakkari Hatay Iğdır Isparta İstanbul İzmir Kahramanmaraş Karabük Karaman Kars
Kastamonu Kayseri Kilis Kırıkkale Kırklareli Kırşehir Kocaeli Konya Kütahya Malatya Manisa Mardin Mersin Muğla Muş
Nevşehir Niğde Ordu Osmaniye Rize Sakarya Samsun Siirt Sinop Sivas Şanlıurfa Şırnak Tekirdağ Tokat Trabzon Tunceli
Uşak Van Yalova Yozgat Zonguldak Bodrum Marmaris Fethiye Alanya Üsküdar Beşiktaş Şişli Fatih Bakırköy Pendik Kartal
Maltepe Çankaya Keçiören Mamak Bornova Konak Karşıyaka Nilüfer Osmangazi Seyhan Kızılay Ulus Taksim Ortaköy
""")
ABROAD = _listed("""
Almanya Fransa İtalya İspanya Portekiz İngiltere Hollanda Belçika İsviçre Avusturya Yunanistan Bulgaristan Romanya
Macaristan Polonya Rusya Ukrayna Gürcistan Azerbaycan İran Irak Suriye Mısır Tunus Fas Nijerya Japonya Çin Hindistan
Pakistan Endonezya Avustralya Kanada Amerika Meksika Brezilya Arjantin Norveç İsveç Finlandiya Danimarka Berlin Paris
Londra Roma Madrid Viyana Moskova Tokyo Pekin Kahire Bakü Tiflis Atina Sofya Budapeşte Prag
""")
MEN = _listed("""
Ahmet Mehmet Mustafa Ali Hasan Hüseyin İbrahim İsmail Osman Ömer Yusuf Murat Emre Burak Can Cem Deniz Efe Eren Fatih
Ferhat Furkan Gökhan Hakan Halil İlker Kaan Kemal Kerem Levent Mert Metin Onur Orhan Oğuz Ozan Rıza Salih Selim Serkan
Sinan Tarık Tolga Tuncay Turgut Uğur Umut Volkan Yavuz Yiğit Zafer Zeki Poyraz Rüzgar Toprak Ege Alp Barış Berk Bora
Caner Doruk Ferit Haluk Vedat Vahit Nejat Necati
""")
WOMEN = _listed("""
Ayşe Fatma Emine Hatice Zeynep Elif Meryem Şerife Sultan Hanife Merve Büşra Esra Kübra Özlem Yasemin Hülya Sevgi Sevda
Songül Gül Gülşen Gamze Ebru Derya Dilek Didem Defne Ece Ela Eda Ezgi Filiz Feride Hande Handan İrem İpek Jale Jülide
Nuray Nurten Nazlı Nil Nilgün Pınar Pelin Seda Selin Sibel Şule Tuğba Tülay Ülkü Vildan Yeliz Zehra Çağla Çiğdem Aslı
Aylin Azra Bahar Begüm Beren Mirac Müjde Müjgan Tijen
""")
FIRST_NAMES = MEN + WOMEN
SURNAMES = _listed("""
Yılmaz Kaya Demir Çelik Şahin Yıldız Yıldırım Öztürk Aydın Özdemir Arslan Doğan Kılıç Aslan Çetin Kara Koç Kurt Özkan
Şimşek Polat Korkmaz Çakır Erdoğan Aksoy Güler Avcı Taş Tekin Bulut Keskin Ünal Güneş Turan Yavuz Bozkurt Işık Duman
Ateş Sarı Uçar Sönmez Ercan Toprak Köse Acar Gündüz Tunç Kaplan Altun Güven Özer Vural Ergin Karaca Başaran Hızal
Fidan Vardar Erdem Soylu Balcı Türkmen Akgün Gürbüz
""")
MONTHS = _listed("ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık")
DAYS = _listed("pazartesi salı çarşamba perşembe cuma cumartesi pazar")
LETTERS = _listed("a be ce çe de e fe ge he ı i je ke le me ne o ö pe re se şe te u ü ve ye ze")
COMMANDS = _listed(
    """
evet|hayır|tamam|olur|olmaz|peki|elbette|tabii|tabii ki|belki|bilmiyorum|anladım|anlamadım|merhaba|selam|günaydın
iyi günler|iyi akşamlar|iyi geceler|hoşça kal|güle güle|görüşürüz|teşekkürler|teşekkür ederim|sağ ol|rica ederim
bir şey değil|özür dilerim|affedersiniz|pardon|lütfen|dur|başla|devam et|bekle|bekleyin|geri dön|ileri git|sağa dön
sola dön|düz git|yukarı çık|aşağı in|ışığı aç|ışığı kapat|ışıkları söndür|müziği aç|müziği kapat|müziği durdur|sesi aç
sesi kıs|sesi yükselt|kapıyı aç|kapıyı kilitle|perdeyi kapat|perdeleri aç|klimayı aç|klimayı kapat|televizyonu aç
televizyonu kapat|kanalı değiştir|alarmı kur|alarmı kapat|alarm kur|saat kaç|hava nasıl|bugün hava nasıl|mesaj gönder
mesajları oku|annemi ara|babamı ara|aramayı bitir|telefonu aç|telefonu kapat|telefonu sessize al|haritayı aç|eve git
fotoğraf çek|video çek|ekranı kaydet|dosyayı aç|dosyayı sil|dosyayı kaydet|yeni sayfa aç|sayfayı yenile|geri al|yinele
kopyala|yapıştır|kes|hepsini seç|yeni satır|yeni paragraf|nokta|virgül|soru işareti|ünlem işareti|iki nokta
noktalı virgül|tırnak aç|tırnak kapat|parantez aç|parantez kapat|büyük harf|küçük harf|son kelimeyi sil
son cümleyi sil|dikteyi başlat|dikteyi durdur|kaydı başlat|kaydı durdur|kaydı sil|sıradaki şarkı|önceki şarkı
tekrar çal|tekrar et|tekrar söyle|daha yavaş|daha hızlı|daha yüksek sesle|yardım et|yardım|imdat|dikkat|dikkat et|sus
susun|gel|gelin|buraya gel|git|gidelim|hadi|haydi|hadi gidelim|kalk|otur|oturun|ayağa kalkın|aferin|bravo|harika
çok güzel|geçmiş olsun|kolay gelsin|afiyet olsun|eline sağlık|başın sağ olsun|hayırlı olsun|tebrikler|tebrik ederim
kutlu olsun|mutlu yıllar|iyi ki doğdun|nasılsın|nasılsınız|iyiyim|fena değil|ne haber|ne yapıyorsun|neredesin
nereye gidiyorsun|kim o|kimsiniz|adınız ne|kaç yaşındasın|buyurun|efendim|alo|hoş geldiniz|hoş bulduk|içeri gir
dışarı çık|çabuk ol|acele et|yavaş ol|sakin ol|merak etme|korkma|üzülme|ağlama|gülme|unutma|unutmayın|bana bak
beni dinle|su ver|ekmek al|çay koy|robotu çalıştır|süpürgeyi çalıştır|kombiyi aç|kombiyi kapat|fırını kapat|fırını aç
ocağı kapat|garajı aç|garaj kapısını kapat|jeneratörü çalıştır|takvimi aç|not al|not ekle|hatırlatıcı kur|listeye ekle
listeden çıkar|onayla|iptal|iptal et|vazgeç|gönder|ara|bul|göster|oku|yaz|sil|kaydet|çık|çıkış yap|giriş yap|uyan|uyu
""",
    "|",
)
