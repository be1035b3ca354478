"""Makes Turkish sentences, numbers in words, to be spoken by a synthesizer as training text.

A sentence grows from a template: `{a|b}` is a choice, and `[pool.op.op]` is a word of a pool, inflected. Nouns take
pl, a person (1s..3p, P for the sentence's person, R for a random one), a case (C for a random one), cop and DAki;
verbs take a tense (T for the sentence's tense) and a person, or the name of a form that is not finite.
"""

import argparse
import random
import re
from pathlib import Path

from scripts.speech import words_tr as words
from scripts.speech.numbers_tr import join_suffix, spell_numbers, turkish_number, turkish_ordinal
from scripts.speech.words_tr import Word, attach, conjugate, nominal, parse_verb, parse_word, question

MAX_WORDS = 14
_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"\[([^\]]+)\]")

_NOUNS = {
    "person": words.PEOPLE, "thing": words.THINGS, "place": words.PLACES, "food": words.FOODS,
    "animal": words.ANIMALS, "body": words.BODY, "idea": words.IDEAS, "sci": words.SCIENCE, "nature": words.NATURE,
    "month": words.MONTHS, "day": words.DAYS,
    "any": words.PEOPLE + words.THINGS + words.PLACES + words.FOODS + words.ANIMALS + words.IDEAS + words.NATURE,
}  # fmt: skip
_PROPER = {
    "city": words.CITIES, "abroad": words.ABROAD, "name": words.FIRST_NAMES, "man": words.MEN, "woman": words.WOMEN,
    "surname": words.SURNAMES,
}  # fmt: skip
_VERBS = {
    "vacc": words.VERBS_ACC, "veat": words.VERBS_EAT, "vdat": words.VERBS_DAT, "vgo": words.VERBS_GO,
    "vabl": words.VERBS_ABL, "vleave": words.VERBS_LEAVE, "vloc": words.VERBS_LOC, "vins": words.VERBS_INS,
    "valone": words.VERBS_ALONE, "vthing": words.VERBS_THING, "vmind": words.VERBS_MIND,
    "vwant": ["sev", "iste", "planla", "dene", "düşün", "unut", "öğren", "bırak"], "vbegin": ["başla", "çalış", "alış"],
}  # fmt: skip
_PLAIN = {"adv": words.MANNERS, "letter": words.LETTERS}
_ADJECTIVAL = {"adj": words.ADJECTIVES, "pred": words.PREDICATES, "trait": words.HUMAN_TRAITS}

_NONFINITE = {
    "inf": "mAk", "ip": "(y)Ip", "arak": "(y)ArAk", "inca": "(y)IncA", "madan": "mAdAn", "an": "(y)An",
    "imp": "", "imp2": "(y)In", "impneg": "mA", "imp2neg": "mAyIn", "ayım": "(y)AyIm", "alım": "(y)AlIm",
    "alım_mı": "(y)AlIm mI",
    "sın": "sIn", "dıktan": "DIktAn", "meye": "mAyA", "meyi": "mAyI", "mekten": "mAktAn",
}  # fmt: skip

_TENSE_WEIGHTS = {
    "past": 28, "present": 22, "future": 15, "aorist": 10, "reported": 8, "must": 5, "can": 6, "was": 5, "would": 3,
}  # fmt: skip
_QUESTION_TENSES = ("present", "past", "future", "aorist", "can", "reported", "must")
_WHEN = {
    **dict.fromkeys(("past", "reported", "was", "would"), words.WHEN_PAST),
    **dict.fromkeys(("present", "aorist", "must", "can"), words.WHEN_NOW),
    "future": words.WHEN_FUTURE,
}

# Grammar exercises: noun phrases x verbs x adjectives x adverbs.
_GENERAL = """
[subj] {[when] |}[thing.R.acc] {[adv] |}[vacc.T.P]
[subj] {[when] |}[adj] [thing.pl.acc] [vacc.T.P]
[subj] {bir|bu|o|şu|her} [adj] [thing.acc] [vacc.T.P]
[subj] [person.R.acc] {[adv] |}[vacc.T.P]
[subj] [idea.R.acc] {[adv] |}[vmind.T.P]
[subj] {[when] |}[food.pl.acc] {[adv] |}[veat.T.P]
[subj] {[when] |}[food.lI] [food] [veat.T.P]
[subj] [idea.R.dat] [vdat.T.P]
[subj] [idea.pl.R.abl] {[adv] |}[vabl.T.P]
[subj] [animal.pl.abl] [vabl.T.P]
[subj] {[when] |}[place.dat] [vgo.T.P]
[subj] {[when] |}[place.R.abl] [vleave.T.P]
[subj] {[when] |}[place.R.loc] {[adv] |}[vloc.T.P]
[subj] [adj] bir [place.loc] [vloc.T.P]
[subj] {[when] |}[person.R.ins] {[adv] |}[vins.T.P]
[subj] {[when] |}[name.ins] {[place.loc] |}[vins.T.P]
[subj] {[when] |}{[adv] |}[valone.T.P]
[subj] {[when] |}[place.loc] [thing.acc] [vacc.T.P]
[subj] [valone.ip] [place.dat] [vgo.T.P]
[subj] [thing.acc] [vacc.madan] {[when] |}[place.dat] [vgo.T.P]
[subj] [thing.R.acc] [vacc.arak] [valone.T.P]
[subj] [place.dat] [vgo.inca] [thing.acc] [vacc.T.P]
[subj] [thing.pl.acc] [vacc.dıktan] sonra [valone.T.P]
[subj] [valone.meyi] [vwant.T.P]
[subj] [thing.acc] [vacc.inf] için [place.dat] [vgo.T.P]
[subj] [valone.meye] [vbegin.T.P]
[valone.iken] [thing.R.acc] [vacc.T.P]
[thing.acc] [vacc.conditional.P] [food.acc] [veat.future.P]
eğer [place.dat] [vgo.conditional.P] [person.R.ins] [vins.future.P]
[thing.acc] [vacc.an] [person] [place.dat] [vgo.T.3s]
[place.loc] [vloc.an] [person.pl] [valone.T.3p]
[vacc.dik.P] [thing] {çok|hiç|pek} {[pred]|[pred] değil|[pred.past3]}
[vacc.acak.P] [thing.pl.acc] [name.dat] {anlattım|gösterdim|söyledim|yazdım}
[person.R.gen] [valone.ma.3s.acc] [vacc.T.P]
[name.gen] [place.dat] [vgo.dik.3s.acc] {biliyorum|duydum|öğrendim|unutmuştum|sanmıyorum}
[name.gen] [thing.acc] [vacc.ma.3s] {gerekiyor|gerek|lazım|gerekebilir|şart}
[thing.acc] [vacc.ma.P] {gerekiyor|gerekmiyor|gerekecek|gerekti|lazım}
[place.DAki] [thing.pl] {[when] |}[vthing.T.3s]
[thing.R] {[when] |}{[adv] |}[vthing.T.3s]
[adj] [thing.pl] [vthing.T.3s]
[person.gen] [thing.3s] [vthing.T.3s]
[name.gen] [thing.pl.3s] {çok|oldukça|biraz|daha|en} [pred]
[name.gen] [person.3s] {çok|oldukça|biraz|son derece} [trait]
[subj] {çok|oldukça|biraz|hiç olmadığı kadar|her zaman} [trait.cop]
[subj] [trait] bir [person.cop]
[subj] {dün|eskiden|o zamanlar|geçen yıl} {çok|oldukça|hep} [trait.past]
[thing.R] [thing.R.abl] daha [pred]
[place.pl] {kışın|yazın|baharda|geceleri|gündüzleri} {çok|daha|oldukça} [pred] {olur|oluyor|görünüyor}
bu [thing] {çok|oldukça|en} [pred] [thing.pl.abl] biri
{en|daha|çok} [adj] [any.acc] [vacc.T.P]
[animal.pl] {[place.loc]|[nature.gen] yanında|[nature.gen] altında|[nature.gen] üstünde} {yaşar|uyuyor|bekliyor|\
yürüyor|saklandı}
[adj] [animal] [nature.dat] doğru {koştu|yürüdü|uçtu|kaçtı|yüzdü|ilerledi}
[nature.pl] [adj] {görünüyor|görünüyordu|değil|değildi|olacak}
[body.1s] {ağrıyor|çok ağrıyor|acıyor|kaşınıyor|sızlıyor|şişti|iyileşti|kanıyor|üşüyor}
[body.R.acc] {yavaşça|dikkatle|hafifçe|sürekli} {oynattı|kıpırdattı|ovdu|yıkadı|inceledi|salladı}
[any.sIz] [any] {olmaz|olur mu?|düşünülemez|pek işe yaramaz}
[any.sIz] kaldık
[person.lIk] {yapmak|yapmaya çalışmak} {kolay|zor} {değil|olmalı}
{[any.R.dat] rağmen|[any.R.dat] göre|[any.R.ins] birlikte|[any.R.abl] dolayı|[any.R.abl] sonra} {her şey değişti|\
[valone.T.P]|[place.dat] [vgo.T.P]}
[any.gen] {içinde|üstünde|altında|yanında|arkasında|önünde|karşısında|arasında|çevresinde} [any] {var|yok|vardı|yoktu|\
varmış}
[any] ile [any] arasındaki farkı {[vacc.T.P]|bilmiyorum|anlattı|sordu}
[any.pl], [any.pl] ve [any.pl] [pred] {olmalı|olacak|değil|görünüyor}
ne [any] ne de [any] {gördüm|vardı|bulduk|kaldı|istiyoruz}
hem [any.acc] hem de [any.acc] [vacc.T.P]
{[any.R.dat] dair|[any.R.gen] hakkında|[any.R] için|[any.R] gibi} {bir şey söylemedi|çok şey biliyorum|soru sordular|\
konuştuk}
[thing.acc] [vacc.imp]
lütfen [thing.R.acc] {hemen |şimdi |}[vacc.imp2]
sakın [thing.acc] [vacc.impneg]
lütfen [thing.pl.acc] [vacc.imp2neg]
[valone.mekten] {vazgeçtim|hoşlanmam|bıktık|korkuyorlar|kaçınmalısın}
[thing.acc] {birlikte |hemen |yarın |}[vacc.alım]
[place.dat] {birlikte |hemen |yarın |}[vgo.alım_mı]?
[food.acc] {ben |şimdi |}[veat.ayım]
[person] [thing.acc] [vacc.sın]
[thing.R.acc] {[adv] |}[vacc.q]?
{[when] |}[place.dat] [vgo.q]?
[food] [veat.q]?
[person.R.ins] [vins.q]?
{neden|niçin|ne zaman|nasıl|kim için|nerede} [thing.acc] [vacc.T.P]?
{kim|hanginiz} [thing.acc] [vacc.T.3s]?
{hangi|kaç|kaç tane} [thing.acc] [vacc.T.P]?
[subj] [any.acc] {çok|pek|hiç|asla} [vacc.neg.T.P]
[subj] [idea.dat] {asla|hiç|pek} [vdat.neg.T.P]
[subj] [place.loc] hiç [vloc.neg.T.P]
[thing] {henüz|hala|asla} [vthing.neg.T.3s]
[name] [surname] [when] [place.R.dat] [vgo.T.3s]
{[man] Bey|[woman] Hanım} [thing.R.acc] [vacc.T.3s]
"""

_MATHS = """
[num:2-99] {artı|eksi|çarpı|bölü} [num:2-99] kaç eder?
[num:10-500] ile [num:10-500] sayısını {topluyoruz|çarpıyoruz|karşılaştıralım}
[num:2-12] kere [num:2-12] kaç yapar?
iks kare {artı|eksi} [num:2-30] iks eşittir [num:2-90]
üçgenin iç açılarının toplamı 180 derecedir
karenin bir kenarı [num:2-90] santimetredir
dikdörtgenin {alanı|çevresi} [num:10-900] {santimetre|metre|santimetrekare|metrekare}
dairenin alanını bulmak için yarıçapın karesini pi ile çarparız
denklemin iki tarafını [num:2-20] ile {çarpalım|bölelim|toplayalım}
denklemin iki tarafından [num:2-99] çıkarıyoruz
[frac] kesrini {sadeleştirelim|ondalık sayıya çevirelim|genişletelim}
bu kesir [frac] ile aynı değere sahip
[num:100-900] sayısının [percent.3s] kaçtır?
{fonksiyonun|parabolün|eğrinin} {türevini|grafiğini|köklerini|eğimini|tepe noktasını} {bulalım|çizelim|hesaplıyoruz|\
inceleyeceğiz}
paydaları eşitledikten sonra payları topluyoruz
bir asal sayı yalnızca kendisine ve bire bölünür
olasılık sıfır ile bir arasında bir sayıdır
zarın [num:1-6] gelme olasılığı altıda birdir
[num:1-9] virgül [num:1-99] sayısını yuvarlayalım
bu {sorunun|problemin|alıştırmanın} cevabı [num:1-9000]
{a|b|c} {artı|eksi|çarpı|bölü} {be|ce|de} eşittir [num:1-100]
{sinüs|kosinüs|tanjant} [num:1-90] derecenin değeri nedir?
dik üçgende hipotenüsün karesi dik kenarların kareleri toplamına eşittir
ortalamayı bulmak için sayıları toplayıp [num:3-12.dat] böleriz
iki basamaklı en büyük çift sayı 98'dir
[ord:1-20] {soruyu|örneği|basamağı|terimi} birlikte {çözelim|inceleyelim|bulalım|yazalım}
"""

_SCIENCES = """
{kuvvet|ivme|hız|basınç|enerji|iş|güç} {nasıl hesaplanır?|nedir?|hangi birimle ölçülür?|neye bağlıdır?}
kuvvet, kütle ile ivmenin çarpımına eşittir
ışığın hızı saniyede yaklaşık 300.000 kilometredir
cisim saniyede [num:2-90] metre hızla {hareket ediyor|düşüyor|ilerliyor}
su [num:1-100] derecede {kaynar mı|donar mı|buharlaşır mı}?
su 100 derecede kaynar, 0 derecede donar
bu {cismin|aracın|topun|kutunun} kütlesi [num:2-900] {gram|kilogram}
yer çekimi cisimleri dünyanın merkezine doğru çeker
{elektronlar|protonlar|nötronlar} {çekirdeğin etrafında döner|çekirdekte bulunur|elektrik yükü taşır}
{oksijen|karbon|azot|demir|hidrojen|helyum|fosfor|klor} atomunun [num:1-30] {protonu|elektronu|nötronu} vardır
{asitler|bazlar|tuzlar} suda çözününce iyonlarına ayrılır
{tepkimede|deneyde|çözeltide} [num:2-90] gram {tuz|şeker|asit|kalsiyum|sodyum} {kullandık|çözündü|oluştu}
periyodik tabloda elementler atom numaralarına göre sıralanır
{mitokondri|kloroplast|ribozom|çekirdek|koful|hücre zarı} {hücreye enerji sağlar|hücrede önemli bir görev yapar|\
mikroskopla görülebilir}
bitkiler fotosentezle {besin|oksijen} üretir
kalbimiz dakikada yaklaşık [num:55-130] kez atar
insan vücudunda 206 kemik vardır
{kan|oksijen|besin} {damarlarla|akciğerlerle|hücrelerle} {taşınır|birleşir|yayılır|vücuda dağılır}
{anne|baba|yavru|hücre} {genlerini|kromozomlarını} {aktarır|kopyalar|taşır}
virüsler canlı bir hücre olmadan çoğalamaz
{bu derste|bugün|şimdi|gelecek videoda} [sci.acc] {inceleyeceğiz|öğreneceğiz|işleyelim|anlatacağım|göreceğiz}
[sci] ile [sci] arasındaki {ilişkiyi|farkı|benzerliği} {açıklayalım|bulun|tartışalım|gösterin}
[sci.pl] {çok|oldukça|en} [adj] {bir konudur|kavramlardandır|olabilir}
[sci.gen] {tanımı|birimi|önemi|yapısı} nedir?
[sci.gen] {özellikleri|çeşitleri} nelerdir?
[sci.gen] {tanımını|özelliklerini} defterinize yazın
[sci.pl.abl] {hangisi|hangileri} {daha [pred]?|en [pred]?}
{öğretmen|hoca|profesör} [sci.dat] {dair bir soru sordu|bir örnek verdi|geri döndü}
[sci.acc] {anlamak|ölçmek|bulmak|kavramak|çizmek} için [sci.acc] {bilmeliyiz|kullanırız|hesaplarız|inceleriz}
{[sci.acc]|[sci.pl.acc]} [vacc.T.P]
devreye [num:2-240] voltluk bir {pil|üreteç|gerilim} bağlıyoruz
dünya kendi çevresindeki dönüşünü 24 saatte tamamlar
güneş sisteminde sekiz gezegen vardır ve en büyüğü Jüpiter'dir
{Merkür|Venüs|Mars|Jüpiter|Satürn|Uranüs|Neptün} {güneşe ne kadar uzaktır?|gece gökyüzünde görülebilir|\
dünyadan [num:2-20] kat büyük müdür?}
"""

_HISTORY = """
[year.loc] {savaş başladı|antlaşma imzalandı|isyan çıktı|yeni bir devlet kuruldu|büyük bir deprem oldu|seçimler yapıldı}
İstanbul 1453 yılında Fatih Sultan Mehmet tarafından fethedildi
Türkiye Cumhuriyeti 29 Ekim 1923'te ilan edildi
Mustafa Kemal Atatürk 1881'de Selanik'te doğdu
Büyük Millet Meclisi 23 Nisan 1920'de açıldı
{padişah|kral|imparator|vezir|sultan} {[when] |}{sefere çıktı|tahttan indirildi|fermanı imzaladı|elçileri kabul etti|\
orduyu topladı}
[ord:1-20] yüzyılda {ticaret yolları değişti|yeni kıtalar keşfedildi|sanayi hızla gelişti|imparatorluk zayıfladı|\
matbaa yaygınlaştı}
{Osmanlı|Selçuklu|Roma|Bizans|Hitit|Moğol} {devleti|ordusu|hükümdarı|imparatorluğu} {[year.loc]|\
uzun yıllar} {güçlendi|geri çekildi|bölgeyi yönetti|yenildi|savaştı}
{Sümerler|Hititler|Lidyalılar|Urartular|Mısırlılar|Yunanlar} {yazıyı|parayı|tarımı|madenciliği|mimariyi} {geliştirdi|\
kullandı|komşularından öğrendi}
{talep|arz|fiyat|faiz|üretim|enflasyon|döviz kuru|işsizlik} {artınca|azalınca|düşünce|yükselince} {fiyatlar|tüketim|\
yatırımlar|satışlar|ithalat} {azalır|artar|düşer|yükselir|değişir}
{enflasyon|faiz oranı|işsizlik|büyüme|vergi oranı|kur farkı} [year.loc] [percent] {oldu|olarak açıklandı|arttı|düştü}
merkez bankası faizi [percent.dat] {yükseltti|düşürdü|indirdi|çıkardı}
{rekabet|tekel|piyasa|talep eğrisi|fırsat maliyeti|sermaye} kavramını {örneklerle|grafik üzerinde|\
kısaca} {açıklayalım|inceleyelim|anlatacağım}
{şirketin|ülkenin|fabrikanın|çiftçinin} {geliri|gideri|borcu|karı|bütçesi} [num:2-900] {bin|milyon|milyar} {lira|\
dolar|avro}
Sokrates, Platon ve Aristoteles en ünlü filozoflardandır
[num:2-900] yıl önce bu [place.loc] [adj] bir [place] vardı
arkeologlar [city] yakınlarında [adj] bir {tapınak|heykel|mezar|yazıt|saray} buldu
"""

_CALLS = """
{iyi günler|merhaba|günaydın|iyi akşamlar}, ben [name], size nasıl yardımcı olabilirim?
{merhaba|iyi günler}, adım [name] [surname]
{[man] Bey|[woman] Hanım}, {hatta kalır mısınız?|sizi bir dakika bekleteceğim|beklediğiniz için teşekkür ederim|\
işleminizi tamamladım}
{müşteri|abone|sipariş|fatura|kargo|takip} numaranızı {söyler misiniz?|alabilir miyim?|öğrenebilir miyim?|tuşlayın}
{müşteri|abone|sipariş|takip} numaram [digits]
telefon numaram [phone]
telefon: [phone]
kimlik numaranızın son [num:2-6] hanesini {söyleyin|tuşlayın|alabilir miyim?}
güvenlik kodum [code]
faturam bu ay [money] geldi, {neden bu kadar yüksek?|itiraz etmek istiyorum|bunu ödeyemem|yanlışlık olmalı}
{son ödeme tarihi|fatura kesim günü|taahhüt bitiş tarihi|randevu tarihiniz} [date]
{faturanızı|borcunuzu|taksitinizi|aboneliğinizi|siparişinizi} [date.dat] kadar {ödeyebilirsiniz|iptal edebilirsiniz|\
değiştirebilirsiniz}
internetim {çok yavaş|iki gündür yok|sürekli kopuyor|dünden beri çalışmıyor|akşamları donuyor}
modemin {ışıkları yanmıyor|kırmızı ışığı yanıyor|fişini çekip takın|şifresini değiştirin|yerini değiştirdim}
hızınız saniyede [num:8-1000] megabit olarak görünüyor
{teknik ekip|kurye|servis|görevli arkadaşımız} [day] günü saat [clock.loc] {gelecek|sizi arayacak|adresinizde olacak}
arıza kaydınızı {oluşturdum|aldım|açtık|ilgili birime ilettim}
{kargom|siparişim|paketim|kartım|faturam} {hala gelmedi|nerede kaldı?|yanlış adrese gitmiş|hasarlı geldi|\
[num:2-15] gündür gelmedi}
{ürünü|siparişi|ayakkabıyı|telefonu|paketi} {iade etmek|değiştirmek|iptal etmek} istiyorum
{kargonuz|siparişiniz|paketiniz} {[date.loc]|yarın|bugün|[day] günü} {teslim edilecek|dağıtıma çıkacak|\
şubeye ulaşacak|yola çıktı}
[day] gününe saat [clock.dat] {randevu almak istiyorum|randevunuz var|masa ayırtabilir miyim?|yer var mı?}
randevumu {iptal eder misiniz?|[day] gününe alabilir miyiz?|saat [clock.dat] ertelemek istiyorum}
kredi kartımın {limitini artırmak|borcunu öğrenmek|şifresini değiştirmek|ekstresini almak} istiyorum
hesabımda [money] {görünüyor|kalmış|olması gerekiyor|yok}
[name] [surname.dat] [money] {gönderdim|havale ettim|borcum var|ödedim|yolladık}
kartınızı {kaybettiyseniz|çaldırdıysanız} hemen {bizi arayın|kapatmalıyız|şubeye gidin}
{kredi|konut kredisi|taşıt kredisi|ihtiyaç kredisi} faizi aylık [percent]
[num:3-48] taksitle aylık [money] ödersiniz
{hizmetinizden|kampanyanızdan|görüşmeden|ilginizden} {hiç memnun değilim|çok memnun kaldım|şikayetçiyim}
{müdürünüzle|yetkiliyle|bir temsilciyle|teknik servisle} {görüşmek istiyorum|konuşabilir miyim?}
başka bir konuda {yardımcı olabilir miyim?|sorunuz var mı?|yardım ister misiniz?}
adresim [city], [surname] {Caddesi|Sokağı|Mahallesi}, numara [num:1-250], daire [num:1-60]
[surname] {Mahallesi|Sokağı}, [ord:1-90] {Sokak|Cadde}, kat [num:1-25]
{görüşmemiz|bu konuşma} kalite için kayıt altına {alınmaktadır|alınıyor}
{şikayetinizi|talebinizi|isteğinizi} {kaydettim|en kısa sürede inceleyeceğiz|[num:1-10] iş günü içinde yanıtlayacağız}
{tarifenizi|paketinizi|adresinizi|hattınızı} {yenilemek|değiştirmek|taşımak|kapatmak} ister misiniz?
{e posta|posta} adresinizi harf harf {söyler misiniz?|kodlar mısınız?}
kodlayarak söylüyorum, [letter], [letter], [letter], [letter]
[letter] [letter] [letter] [num:10-999]
plakam [num:1-81] [letter] [letter] [num:10-999]
"""

_NEWS = """
{cumhurbaşkanı|başbakan|bakan|vali|belediye başkanı} {yarın|bugün|dün|hafta sonu} [city.loc] {konuştu|halka seslendi|\
açılış yaptı|gazetecilerin sorularını yanıtladı}
[city.loc] meydana gelen kazada [num:2-40] kişi {yaralandı|hayatını kaybetti|hastaneye kaldırıldı}
[city.loc] [num:3-7] virgül [num:1-9] büyüklüğünde deprem {oldu|meydana geldi|hissedildi}
{dolar|avro|altın|petrol|gümüş} {güne|haftaya|yıla} [num:2-60] virgül [num:1-99] liradan başladı
{borsa|ihracat|ithalat|üretim|satışlar} [percent] {arttı|yükseldi|geriledi|değer kaybetti}
{jandarma|polis|itfaiye|sahil güvenlik} ekipleri [city.loc] {operasyon yaptı|yangını söndürdü|\
arama çalışması başlattı|iki kişiyi yakaladı}
maç [num:0-5] [num:0-5] {sona erdi|bitti|tamamlandı}
[city.gen] nüfusu [num:20000-4000000.dat] {ulaştı|yükseldi|yaklaştı}
{seçim|toplantı|zirve|festival|final|konser|duruşma} [date.loc] [city.loc] {yapılacak|yapıldı|başlayacak|ertelendi}
[abroad] ile [abroad] arasındaki {anlaşma|görüşme|gerginlik|ticaret} {sürüyor|imzalandı|tamamlandı|yeniden başladı|\
büyüyor}
{asgari ücrete|emekli maaşlarına|benzine|elektriğe|ekmeğe} [percent] zam {yapıldı|geldi|bekleniyor}
hava [city.loc] {yarın|bugün|hafta sonu|akşam} {güneşli|yağmurlu|karlı|sisli|bulutlu|rüzgarlı|fırtınalı|açık} {olacak|\
geçecek|görünüyor}
[city.loc] sıcaklık {eksi|en az|en fazla|gece|gündüz} [num:1-42] derece {olacak|ölçüldü|bekleniyor}
meteoroloji [city] için {kuvvetli yağış|fırtına|don|sis|çığ|sıcak hava} uyarısı {yaptı|yayımladı}
{rüzgar|yağış|kar|dolu|sis} [city] çevresinde {etkisini artırıyor|hayatı olumsuz etkiledi|yarın sona erecek|\
trafiği durdurdu}
[city] ve [city] çevresinde yarın {kar|yağmur|sağanak|dolu} bekleniyor
[city], [city], [city]
[name] [surname] [year.loc] {dünya şampiyonu oldu|ödül kazandı|emekli oldu|milletvekili seçildi|yeni romanını yayımladı}
"""

_COOKING = """
önce [food.acc] {ince ince|küp küp|iri iri|rendeleyip|yıkayıp} {doğrayın|tencereye alın|bir kaba koyun|süzün}
[num:2-12] {bardak|kaşık|kilo|gram|dilim|tane|avuç|çay kaşığı|su bardağı} [food] {ekleyin|koyun|yeter|lazım|alır mısın?}
fırını {150|160|175|180|190|200|220} dereceye {ayarlayın|getirin|önceden ısıtın}
{hamuru|karışımı|çorbayı|sosu|eti|sebzeleri} [num:2-59] dakika {karıştırın|pişirin|kaynatın|dinlendirin|kavurun|\
haşlayın|yoğurun}
[food.acc] [food.ins] {karıştırın|süsleyin|servis edin|harmanlayın|çırpın}
üzerine {biraz|bol|azıcık|bir tutam} [food] {serpin|dökün|ekleyelim|rendeleyin}
bu {tarif|çorba|yemek|tatlı|pasta} [num:2-12] kişilik
{tuzunu|yağını|suyunu|baharatını|şekerini} {az|fazla|tam} {koymuşsun|kaçırmışım|ayarladım}
[food.lI] [food] {çok lezzetli|biraz tuzlu|nasıl yapılır?|sever misin?|ister misiniz?|yedik}
[food.pl] {taze mi|bayat mı|kaç lira|kilosu ne kadar|bitmiş mi}?
kilosu [money] olan [food.abl] {yarım|bir|iki} kilo {alalım|verin|istiyorum}
{kahvaltıda|öğle yemeğinde|akşam yemeğinde|misafirlere} [food], [food] ve [food] {var|hazırladım|yedik|ikram ettik}
[food] alerjim var
"""

_TRAVEL = """
[city.abl] [city.dat] {otobüs|uçak|tren|vapur|araba} {ne zaman kalkıyor?|kaç saat sürüyor?|bileti ne kadar?|\
ile gittik|seferi iptal oldu}
[city.dat] {gidiş dönüş|tek yön|cam kenarı|öğrenci} {bir bilet|iki bilet|üç bilet} {istiyorum|alabilir miyim?|lütfen}
uçağımız saat [clock.loc] {kalkacak|inecek|rötar yaptı|havalandı}
{tren|otobüs|vapur|feribot|metro} saat [clock.loc] {kalkıyor|geliyor|yola çıktı|istasyona ulaşacak}
[city] ile [city] arası [num:40-1900] kilometre
{bileti|oteli|odayı|turu} [money.dat] {aldık|tuttuk|bulduk|kiraladım}
[date.loc] [city.dat] {gideceğiz|uçuyoruz|taşındık|döneceğim|varırız}
[abroad.dat] {gitmek için vize gerekiyor mu?|hiç gittin mi?|taşınmak istiyorum|iş için gidiyor|ihracat arttı}
[abroad.loc] [num:2-40] {yıl|gün|hafta|ay} {kaldık|yaşadım|çalıştı|okudular}
[abroad.abl] {yeni döndük|bir misafirimiz geldi|hediye getirmişler|taşındılar}
[num:100-999] numaralı oda {hazır mı?|kaçıncı katta?|boş|temizlendi|deniz manzaralı}
{havaalanına|otogara|müzeye|limana|konsolosluğa} nasıl {gidebilirim?|gideriz?|ulaşırım?}
{sağa|sola|köprüden sonra sağa|ışıklardan sola} dönün, [num:50-900] metre düz gidin
[ord:1-9] {durakta|kavşakta|sokakta|çıkışta} {inin|dönün|bekleyin|inecek var}
müze [day] günleri {kapalı|açık|ücretsiz|saat [clock.loc] açılıyor}
[city.lI] {bir arkadaşım|komşumuz|öğretmenimiz|şoför} [city.acc] {çok seviyor|bize gezdirdi|özlemiş|anlattı}
[city.gen] {havası|denizi|yemekleri|sokakları|tarihi yerleri|trafiği} {çok güzel|beni yordu|meşhurdur|bambaşka|değişmiş}
valizim [num:10-40] kilo {geldi|çekiyor}
"""

_DAILY = """
saat [clock]
saat {kaç|kaçta buluşalım|kaçta geleceksin|kaçta bitiyor|kaçta açılıyor}?
saat [clock.loc] {uyandım|buluşalım|evdeyim|toplantı var|ders başlıyor|film başlayacak|arar mısın?|çıkıyoruz}
saat [clock.dat] alarm kur
saat [num:1-12.acc] [num:5-25] geçiyor
bugün {[date]|[day]|ayın [num:1-31.gen]|[month.gen] [num:1-31.3s]}
doğum günüm [date]
[name] [date.loc] {doğdu|evlendi|mezun oldu|işe başladı|İstanbul'a geldi}
[name] [num:1-99] yaşında
ben [num:15-90] yaşındayım, [city.loc] {yaşıyorum|çalışıyorum|doğdum|okuyorum}
bu [thing] kaç {lira|para}?
bu [thing] [money]
[thing.acc] [money.dat] {aldım|sattı|vermişler|bulamazsın|bıraktı}
[percent] indirimle [thing] {aldım|satıyorlar|bulduk}
[percent] indirim var
telefonumun şarjı [percent.dat] düştü
[num:2-900] {lira|dolar|avro} {verir misin?|borcum var|eksik|yeter mi?|bozabilir misiniz?}
[num:2-40] {kilo|litre|metre|paket|kutu|tane|adet} [any] {aldım|lazım|kaldı|istedi|bulduk}
{boyum|boyun|masanın boyu} bir metre [num:45-99] santim
[name], {gelir misin?|yemek hazır|kapı çalıyor|neredesin?|beni duyuyor musun?|telefonun çalıyor|bak burada ne var}
{sen|siz} {nerede|ne zaman|niçin|neden|nasıl} [valone.T.2s]?
evet, [valone.T.1s]
hayır, [valone.neg.T.1s]
evet, [thing.acc] [vacc.T.P]
hayır, [place.dat] [vgo.neg.T.P]
{bence|bana göre|kısacası|aslında|doğrusu|yani|üstelik|ayrıca} [any.pl] {çok|pek|gayet} [pred]
[name] ile [name] [when] [place.loc] [vloc.T.3p]
[person.R] {hasta|evde|işte|okulda|yolda|tatilde|uyuyor|çok meşgul}
[person.1s.gen] adı [name]
[name.gen] {doğum günü|düğünü|sınavı|ameliyatı|maçı|toplantısı} {[day] günü|[date.loc]|yarın|ne zaman?}
{çocuk|bebek|kızım|oğlum|yeğenim} {[ord:1-8] sınıfa gidiyor|[num:1-11] aylık|[num:2-15] yaşına girdi|okula başladı}
[ord:1-50] {kata çıkın|sayfayı açın|kat|sayfa|soru|sıra|bölüm|ders|gün|yıl dönümü}
takımımız ligde [ord:1-18] sırada
[year]
[num:0-100]
[num:100-999999]
[num:1000000-9000000000]
[percent]
[date]
[money]
[num:1-99] virgül [num:1-99]
[ord:1-100]
sıfır, bir, iki, üç, dört, beş
{bir tane|iki tane|birkaç|bir sürü|az sayıda|çok sayıda} [adj] [any] {gördüm|istiyorum|aldık|var|kalmış}
[any]
[any.pl]
[adj] [any]
[adj] [any.R.C]
[any.R.C]
[any.pl.R.C]
[any.pl.R.C] [vacc.T.P]
[vacc.T.P]
[valone.T.P]
[vdat.neg.T.P]
[valone.q]?
[vacc.dik.P.C], [vacc.acak.P.C]
"""

_DOMAINS = {
    "general": (_GENERAL, 46), "maths": (_MATHS, 5), "science": (_SCIENCES, 8), "history": (_HISTORY, 4),
    "calls": (_CALLS, 12), "news": (_NEWS, 5), "cooking": (_COOKING, 4), "travel": (_TRAVEL, 5), "daily": (_DAILY, 15),
}  # fmt: skip


class _Maker:
    """Grows sentences from templates; each sentence keeps one person and one tense."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._nouns = {pool: [parse_word(entry) for entry in dict.fromkeys(pooled)] for pool, pooled in _NOUNS.items()}
        self._verbs = {pool: [parse_verb(entry) for entry in pooled] for pool, pooled in _VERBS.items()}
        self._adjectives = {pool: [parse_word(entry) for entry in pooled] for pool, pooled in _ADJECTIVAL.items()}
        self._templates = {name: text.strip().split("\n") for name, (text, _) in _DOMAINS.items()}
        self._templates["commands"] = words.COMMANDS
        self._weights = [weight for _, weight in _DOMAINS.values()] + [3]
        self._person = "3s"
        self._tense = "past"

    def sentence(self) -> str:
        """Make one sentence, with a capital and a closing mark."""
        self._person = self._random.choice(words.PERSONS)
        self._tense = self._random.choices(list(_TENSE_WEIGHTS), list(_TENSE_WEIGHTS.values()))[0]
        domain = self._random.choices(list(self._templates), self._weights)[0]
        text = self._random.choice(self._templates[domain])
        while _CHOICE.search(text):
            text = _CHOICE.sub(lambda match: self._random.choice(match[1].split("|")), text)
        text = _SLOT.sub(lambda match: self._slot(match[1]), text)
        text = " ".join(spell_numbers(text).split())
        first = {"i": "İ", "ı": "I"}.get(text[0], text[0].upper())
        return first + text[1:] + ("" if text[-1] in ".?!" else ".")

    def _slot(self, slot: str) -> str:
        head, *steps = slot.split(".")
        pool, _, limits = head.partition(":")
        if pool in self._nouns:
            return self._inflect(self._random.choice(self._nouns[pool]), steps)
        if pool in _PROPER:
            return self._inflect(parse_verb(self._random.choice(_PROPER[pool])), steps, proper=True)
        if pool in self._verbs:
            return self._verb(self._random.choice(self._verbs[pool]), steps)
        if pool in self._adjectives:
            return self._adjective(self._random.choice(self._adjectives[pool]), steps)
        if pool in _PLAIN:
            return self._random.choice(_PLAIN[pool]).replace("_", " ")
        if pool == "subj":
            return self._subject()
        if pool == "when":
            return self._random.choice(_WHEN[self._tense]).replace("_", " ")
        return self._inflect(_spoken(self._number(pool, limits)), steps)

    def _subject(self) -> str:
        if self._person == "3s":
            return self._slot(self._random.choice(["name", "name", "person", "person.1s", "person.1p"]))
        if self._person == "3p":
            return self._slot("person.pl") if self._random.random() < 0.6 else "onlar"
        return words.PRONOUNS[self._person] if self._random.random() < 0.35 else ""

    def _inflect(self, word: Word, steps: list[str], proper: bool = False) -> str:
        form: Word | str = word
        plural = third = False
        for step in steps:
            if step == "R":
                step = self._random.choice(["", "", "", "", *words.PERSONS])
            elif step == "P":
                step = self._person
            elif step == "C":
                step = self._random.choice(list(words.CASES))
            if not step:
                continue
            if step == "pl":
                suffix, plural = "lAr", True
            elif step in words.POSSESSIVE:
                suffix = "I" if plural and step == "3p" else words.POSSESSIVE[step]
                third = step[0] == "3"
            elif step in words.CASES:
                suffix = (words.CASES_AFTER_THIRD if third else words.CASES)[step]
            elif step == "cop":
                suffix = words.COPULA[self._person]
            else:
                suffix = step
            previous = form
            form = attach(form, suffix)
            if proper and suffix and step not in words.CASELESS and isinstance(previous, Word):
                form = f"{previous.base}'{form[len(previous.base) :]}"
        return form if isinstance(form, str) else form.base

    def _adjective(self, word: Word, steps: list[str]) -> str:
        if steps == ["cop"]:
            return attach(word, words.COPULA[self._person])
        if steps == ["past"]:
            return attach(word, words.COPULA_PAST[self._person])
        if steps == ["past3"]:
            return attach(word, words.COPULA_PAST["3s"])
        return word.base

    def _verb(self, verb: Word, steps: list[str]) -> str:
        negative = steps[0] == "neg"
        kind, *rest = steps[1:] if negative else steps
        person = self._person if rest[:1] == ["P"] else rest[0] if rest else self._person
        if kind in _NONFINITE:
            return nominal(verb, _NONFINITE[kind])
        if kind == "iken":
            return attach(conjugate(verb, "aorist", "3s"), "ken")
        if kind == "q":
            tense = self._tense if self._tense in _QUESTION_TENSES else "past"
            return question(verb, tense, person, self._random.random() < 0.15)
        if kind in ("dik", "acak", "ma"):
            form = nominal(verb, kind, person)
            case = self._random.choice(list(words.CASES)) if rest[1:] == ["C"] else "".join(rest[1:])
            table = words.CASES_AFTER_THIRD if person[0] == "3" else words.CASES
            return attach(form, table[case]) if case else form
        tense = self._tense if kind == "T" else kind
        return conjugate(verb, tense, person, negative or (kind == "T" and self._random.random() < 0.12))

    def _number(self, kind: str, limits: str) -> str:
        pick = self._random.randint
        if kind in ("num", "ord"):
            low, high = (int(limit) for limit in limits.split("-"))
            # Large ranges are drawn by magnitude, so that short numbers come as often as long ones.
            number = pick(low, min(high, low + 10 ** pick(1, len(str(high)))))
            return turkish_number(number) if kind == "num" else turkish_ordinal(number)
        if kind == "frac":
            return f"{attach(_spoken(turkish_number(pick(2, 20))), 'DA')} {turkish_number(pick(1, 19))}"
        if kind == "clock":
            hour = pick(0, 23)
            if self._random.random() < 0.3:
                return f"{turkish_number(hour % 12 or 12)} buçuk"
            minute = self._random.choice([0, 0, *range(5, 60, 5), pick(1, 59)])
            return spell_numbers(f"{hour}:{minute:02}")
        if kind == "year":
            return turkish_number(self._random.choice([pick(1000, 1999), pick(1900, 2035)]))
        if kind == "date":
            date = f"{turkish_number(pick(1, 31))} {self._random.choice(words.MONTHS)}"
            year, weekday = turkish_number(pick(1950, 2035)), self._random.choice(words.DAYS)
            return date + self._random.choice(["", "", f" {year}", f" {weekday}"])
        if kind == "phone":
            return spell_numbers(f"05{pick(0, 59):02} {pick(100, 999)} {pick(0, 99):02} {pick(0, 99):02}")
        if kind == "digits":
            return " ".join(turkish_number(pick(0, 9)) for _ in range(pick(4, 8)))
        if kind == "code":
            return spell_numbers(" ".join(f"{pick(0, 99):02}" for _ in range(pick(2, 3))))
        if kind == "percent":
            decimals = f",{pick(1, 9)}" if self._random.random() < 0.25 else ""
            return spell_numbers(f"%{pick(1, 100)}{decimals}")
        if kind == "money":
            amount = self._random.choice([pick(1, 99), pick(100, 999), pick(1, 99) * 50, pick(1, 300) * 1000])
            return f"{turkish_number(amount)} {self._random.choice(['lira', 'lira', 'lira', 'dolar', 'avro'])}"
        raise ValueError(f"no pool or number kind is called {kind!r}")


def _spoken(text: str) -> Word:
    """Take number words as a noun, softened as their last word is."""
    head, space, last = text.rpartition(" ")
    return Word(text, join_suffix(text, "e")[:-1] if last == "dört" else head + space + parse_word(last).soft)


def generate(count: int, seed: int) -> list[str]:
    """Make `count` distinct sentences; the same seed gives the same sentences."""
    maker = _Maker(seed)
    sentences: dict[str, None] = {}
    for _ in range(50 * count + 1000):
        if len(sentences) == count:
            return list(sentences)
        sentence = maker.sentence()
        if len(sentence.split()) <= MAX_WORDS:
            sentences[sentence] = None
    raise ValueError(f"the templates do not give {count} distinct sentences")


def main() -> None:
    """Write sentences to a file, one on each line."""
    parser = argparse.ArgumentParser(description="Write Turkish sentences, numbers in words, one on each line.")
    parser.add_argument("--count", type=int, default=15000, help="how many sentences (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same text (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the text file to write")
    arguments = parser.parse_args()
    print(f"Making {arguments.count} sentences with seed {arguments.seed} ...")
    sentences = generate(arguments.count, arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(sentences) + "\n", encoding="utf-8")
    forms = {form for sentence in sentences for form in re.findall(r"[\w']+", sentence.lower())}
    print(f"Wrote {len(sentences)} sentences with {len(forms)} distinct word forms to {arguments.out}")


if __name__ == "__main__":
    main()
