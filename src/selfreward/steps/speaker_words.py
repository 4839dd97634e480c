"""Words for who speaks, and for where an answer begins, in the languages of `verdict_words`."""

from __future__ import annotations

from selfreward.steps.verdict_words import any_of

USERS = any_of(
    "用户 用戶 उपयोगकर्ता usuarios? usuári[oa]s? usuaria المستخدم مستخدم utilisat(?:eur|rice) ব্যবহারকারী пользователь صارف"
    " pengguna (?:be)?nutzer(?:in)? ユーザー ユーザ 사용자 utente gebruiker użytkownik kullanıcı người_dùng"
    " 人类 人類 मानव humano إنسان الإنسان humain মানুষ человек انسان manusia mensch 人間 인간 umano człowiek insan con_người"
)
ASSISTANTS = any_of(
    "助手 助理 सहायक asistente المساعد مساعد assistante? সহকারী assistente ассистент помощник معاون asisten assistent(?:in)?"
    " アシスタント 어시스턴트 asystent asistan trợ_lý 机器人 機器人 模型 人工智能助手"
)
ANSWERS = any_of(
    "回答 答案 答 उत्तर जवाब respuesta الإجابة إجابة الجواب جواب réponse উত্তর resposta ответ جواب jawaban antwort 答え 답변 답"
    " risposta antwoord odpowiedź cevap yanıt (?:câu_)?trả_lời"
)
"""Words such as `Antwort:` begin the answer of a conversation, as `Assistant:` does."""
SOLUTIONS = any_of(
    "(?:参考|參考|示例|正确|標準|标准|模範)(?:答案|回答|解答) 解答 解 输出 輸出 出力 lösung(?:en)? ausgabe solución"
    " solution sortie solução saída"
    " решение вывод समाधान সমাধান الحل حل solusi keluaran soluzione oplossing rozwiązanie çözüm 해답 출력 lời_giải"
)
"""Words with which the writer of a task begins to solve it, in addition to the words for an answer."""
